//! Template files with one mistake each.

use std::fs;
use std::path::Path;

/// The name of each file, its text, and the code of the error that it has.
pub(crate) const BROKEN: &[(&str, &str, &str)] = &[
    ("empty", "", "empty"),
    ("comment", "# nothing\n", "empty"),
    ("list", "- a\n", "wrong_type"),
    ("text", "a template\n", "wrong_type"),
    ("two", "name: a\n---\nname: b\n", "several_documents"),
    ("tab", "steps:\n\t- a\n", "syntax"),
    ("brace", "steps: {a: [1}\n", "syntax"),
    ("quote", "name: \"a\n", "syntax"),
    ("twice", "name: a\nname: b\n", "duplicate_key"),
    ("alias", "a: *b\n", "syntax"),
    ("itself", "a: &a [*a]\n", "alias_of_itself"),
    ("merge", "<<: 1\n", "not_mergeable"),
    ("nan", "a: .nan\n", "not_a_json_number"),
    ("huge", "a: 99999999999999999999999\n", "huge_number"),
    ("tag", "a: !secret b\n", "unknown_tag"),
    ("nul", "a: \"\\0\"\n", "nul_character"),
    ("complex_key", "? [a]\n: b\n", "not_a_key"),
    (
        "no_name",
        "namespace_name: s\nversion: '1'\nsteps: []\n",
        "missing",
    ),
    (
        "no_namespace",
        "name: n\nversion: '1'\nsteps: []\n",
        "missing",
    ),
    (
        "no_version",
        "name: n\nnamespace_name: s\nsteps: []\n",
        "missing",
    ),
    (
        "long_name",
        "name: nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn\nnamespace_name: s\nversion: '1'\nsteps: []\n",
        "too_long",
    ),
    (
        "slash",
        "name: a/b\nnamespace_name: s\nversion: '1'\nsteps: []\n",
        "bad_characters",
    ),
    (
        "dash",
        "name: a\nnamespace_name: a-b\nversion: '1'\nsteps: []\n",
        "bad_characters",
    ),
    (
        "steps_text",
        "name: a\nnamespace_name: s\nversion: '1'\nsteps: none\n",
        "wrong_type",
    ),
    (
        "step_text",
        "name: a\nnamespace_name: s\nversion: '1'\nsteps: [a]\n",
        "wrong_type",
    ),
    (
        "strategy",
        "name: a\nnamespace_name: s\nversion: '1'\nidentity_strategy: strickt\nsteps: []\n",
        "unknown_value",
    ),
    (
        "schema",
        "name: a\nnamespace_name: s\nversion: '1'\ninput_schema: {type: objekt}\nsteps: []\n",
        "input_schema",
    ),
    (
        "no_handler",
        "name: a\nnamespace_name: s\nversion: '1'\nsteps:\n- name: x\n",
        "missing",
    ),
    (
        "no_callable",
        "name: a\nnamespace_name: s\nversion: '1'\nsteps:\n- {name: x, handler: {method: run}}\n",
        "missing",
    ),
    (
        "same_step",
        "name: a\nnamespace_name: s\nversion: '1'\nsteps:\n- {name: x, handler: {callable: X}}\n- {name: x, handler: {callable: X}}\n",
        "duplicate_step",
    ),
    (
        "unknown",
        "name: a\nnamespace_name: s\nversion: '1'\nsteps:\n- {name: x, handler: {callable: X}, dependencies: [y]}\n",
        "unknown_dependency",
    ),
    (
        "self",
        "name: a\nnamespace_name: s\nversion: '1'\nsteps:\n- {name: x, handler: {callable: X}, dependencies: [x]}\n",
        "self_dependency",
    ),
    (
        "batch_step",
        "name: a\nnamespace_name: s\nversion: '1'\nsteps:\n- {name: p, type: batchable, handler: {callable: P}, batch_config: {worker_template: x}}\n- {name: x, type: batch_worker, handler: {callable: X}, dependencies: [p]}\n- {name: x_001, handler: {callable: X}}\n",
        "batch_name",
    ),
    (
        "cycle",
        "name: a\nnamespace_name: s\nversion: '1'\nsteps:\n- {name: x, handler: {callable: X}, dependencies: [y]}\n- {name: y, handler: {callable: Y}, dependencies: [x]}\n",
        "cycle",
    ),
    (
        "needs",
        "name: a\nnamespace_name: s\nversion: '1'\nsteps:\n- {name: x, handler: {callable: X}, needs: []}\n",
        "misspelt_graph_key",
    ),
    (
        "type",
        "name: a\nnamespace_name: s\nversion: '1'\nsteps:\n- {name: x, handler: {callable: X}, type: desicion}\n",
        "unknown_value",
    ),
    (
        "types",
        "name: a\nnamespace_name: s\nversion: '1'\nsteps:\n- {name: x, handler: {callable: X}, type: decision, step_type: decision}\n",
        "type_given_twice",
    ),
    (
        "backoff",
        "name: a\nnamespace_name: s\nversion: '1'\nsteps:\n- {name: x, handler: {callable: X}, retry: {backoff: cubic}}\n",
        "unknown_value",
    ),
    (
        "attempts",
        "name: a\nnamespace_name: s\nversion: '1'\nsteps:\n- {name: x, handler: {callable: X}, retry: {max_attempts: -1}}\n",
        "out_of_range",
    ),
    (
        "timeout",
        "name: a\nnamespace_name: s\nversion: '1'\nsteps:\n- {name: x, handler: {callable: X}, timeout_seconds: soon}\n",
        "wrong_type",
    ),
    (
        "batch",
        "name: a\nnamespace_name: s\nversion: '1'\nsteps:\n- {name: x, handler: {callable: X}, type: batchable, batch_config: {batch_size: 0}}\n",
        "out_of_range",
    ),
    (
        "dependencies",
        "name: a\nnamespace_name: s\nversion: '1'\nsteps:\n- {name: x, handler: {callable: X}, dependencies: y}\n",
        "wrong_type",
    ),
];

/// Writes the broken files, and one that is good but has warnings.
pub(crate) fn write(folder: &Path) {
    for (name, text, _) in BROKEN {
        fs::write(folder.join(format!("{name}.yaml")), text).unwrap();
    }
    fs::write(folder.join("zz_warned.yaml"), WARNED).unwrap();
}

/// A template with two warnings.
pub(crate) const WARNED: &str = "\
name: warned
namespace_name: shop
version: 1.0
owner: me
steps:
  - name: only
    handler: {callable: Only}
";

/// A template without problems.
pub(crate) const GOOD: &str = "\
name: orders
namespace_name: shop
version: \"1.0.0\"
description: Takes orders
task_handler:
  callable: shop.Orders
  initialization: {currency: EUR}
steps:
  - name: check
    handler: {callable: shop.Check}
  - name: route
    type: decision
    dependencies: [check]
    handler: {callable: shop.Route}
  - name: pay
    dependencies: [route]
    timeout_seconds: 30
    handler:
      callable: shop.Pay
      initialization: {url: live, tries: {a: 1}}
    retry: {max_attempts: 5, backoff: linear, backoff_base_ms: 500}
  - name: plan
    type: batchable
    dependencies: [check]
    handler: {callable: shop.Plan}
    batch_config: {worker_template: rows}
  - name: rows
    type: batch_worker
    dependencies: [plan]
    handler: {callable: shop.Rows}
  - name: finish
    type: deferred_convergence
    dependencies: [pay, rows]
    handler: {callable: shop.Finish}
environments:
  test:
    task_handler:
      initialization: {currency: TEST}
    steps:
      - name: ALL
        timeout_seconds: 5
      - name: pay
        handler:
          initialization: {url: sandbox}
        retry: {max_attempts: 2}
";
