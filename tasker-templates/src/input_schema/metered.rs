//! A view of a JSON value that counts each access, and ends the computation when its budget is spent.
//!
//! The validator is generic over the representation of its instances. It has no way to stop early, so
//! an exhausted budget unwinds out of it, without a panic message, up to [`Budget::run`].

use std::borrow::Cow;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use jsonschema::JsonType;
use jsonschema::json::{Array, Json, Node as JsonNode, NodeIdentity, Object, SerdeJson};
use serde_json::{Map, Number, Value};

use super::BudgetExceeded;

/// The steps between two looks at the clock and the stack.
const INTERVAL: u64 = 256;
/// The steps that reporting one error costs, because errors take memory.
const ERROR_STEPS: u64 = 100;
/// The bytes of text that count as one step.
const STEP_BYTES: usize = 16;

/// Limits of one check. Deterministic in nearly all cases, because steps run out before time.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Accesses to the context.
    pub steps: u64,
    /// Time on the wall, for steps that are slower than most.
    pub time: Duration,
    /// Bytes of stack. The thread must have more.
    pub stack: usize,
}

/// The limits of the computation that runs on this thread.
#[derive(Clone, Copy)]
struct Meter {
    steps: u64,
    // At this number of remaining steps the clock and the stack are checked next.
    next_check: u64,
    deadline: Option<Instant>,
    stack_base: usize,
    stack: usize,
}

thread_local! {
    static METER: Cell<Meter> = const {
        Cell::new(Meter { steps: 0, next_check: 0, deadline: None, stack_base: 0, stack: 0 })
    };
}

impl Budget {
    /// Runs `check` on this thread until it ends or the budget is spent.
    pub(super) fn run<T>(&self, check: impl FnOnce() -> T) -> Result<T, BudgetExceeded> {
        METER.set(Meter {
            steps: self.steps,
            next_check: self.steps.saturating_sub(INTERVAL),
            deadline: Instant::now().checked_add(self.time),
            stack_base: stack_address(),
            stack: self.stack,
        });
        // The validator is immutable and keeps nothing of a check that did not end.
        match catch_unwind(AssertUnwindSafe(check)) {
            Ok(value) => Ok(value),
            Err(payload) if payload.is::<BudgetExceeded>() => Err(BudgetExceeded),
            Err(panic) => resume_unwind(panic),
        }
    }
}

/// Takes `steps` from the budget of this thread.
fn charge(steps: u64) {
    let mut meter = METER.get();
    let Some(left) = meter.steps.checked_sub(steps) else {
        exceeded()
    };
    meter.steps = left;
    if left < meter.next_check {
        meter.next_check = left.saturating_sub(INTERVAL);
        if meter
            .deadline
            .is_some_and(|deadline| Instant::now() > deadline)
            || stack_address().abs_diff(meter.stack_base) > meter.stack
        {
            exceeded()
        }
    }
    METER.set(meter);
}

fn exceeded() -> ! {
    // Unlike a panic, this prints nothing.
    resume_unwind(Box::new(BudgetExceeded))
}

/// Returns the address of a local variable, which shows how deep the stack is.
fn stack_address() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

fn text_steps(text: &str) -> u64 {
    (text.len() / STEP_BYTES) as u64
}

/// The representation.
#[derive(Debug)]
pub(super) struct Metered;

impl Json for Metered {
    type Node<'a> = Node<'a>;
    type PreparedKey = String;
    type StringBuffer = Value;

    const KEYS_PER_LOOKUP: usize = SerdeJson::KEYS_PER_LOOKUP;
    const ACYCLIC: bool = true;

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>(buffer: &mut Value, string: &str, f: impl FnOnce(Node<'_>) -> T) -> T {
        *buffer = Value::String(string.to_owned());
        f(Node(buffer))
    }
}

/// A value of the context.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node<'a>(&'a Value);

impl<'a> Node<'a> {
    pub(super) fn new(value: &'a Value) -> Self {
        Self(value)
    }

    fn charged(self) -> &'a Value {
        charge(1);
        self.0
    }
}

impl<'a> JsonNode<'a, Metered> for Node<'a> {
    type Object = Members<'a>;
    type Array = Elements<'a>;
    type Number = &'a Number;

    fn as_object(&self) -> Option<Members<'a>> {
        self.charged().as_object().map(Members)
    }

    fn as_array(&self) -> Option<Elements<'a>> {
        self.charged().as_array().map(|items| Elements(items))
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        let text = self.charged().as_str()?;
        charge(text_steps(text));
        Some(Cow::Borrowed(text))
    }

    fn as_number(&self) -> Option<&'a Number> {
        self.charged().as_number()
    }

    fn as_boolean(&self) -> Option<bool> {
        self.charged().as_bool()
    }

    fn is_null(&self) -> bool {
        self.charged().is_null()
    }

    fn json_type(&self) -> JsonType {
        JsonNode::<SerdeJson>::json_type(&self.charged())
    }

    fn equals_value(&self, expected: &Value) -> bool {
        charge(1);
        <&Value as JsonNode<SerdeJson>>::equals_value(&self.0, expected)
    }

    fn to_value(&self) -> Cow<'a, Value> {
        charge(ERROR_STEPS);
        Cow::Borrowed(self.0)
    }

    fn identity(&self) -> Option<NodeIdentity> {
        JsonNode::<SerdeJson>::identity(&self.charged())
    }
}

/// The members of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Members<'a>(&'a Map<String, Value>);

impl<'a> Object<'a, Metered> for Members<'a> {
    type Node = Node<'a>;
    type MemberName = &'a str;
    type MembersIter = std::iter::Map<
        serde_json::map::Iter<'a>,
        fn((&'a String, &'a Value)) -> (&'a str, Node<'a>),
    >;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, key: &String) -> Option<Node<'a>> {
        charge(1);
        self.0.get(key).map(Node)
    }

    fn members(&self) -> Self::MembersIter {
        self.0.iter().map(|(name, value)| {
            charge(1 + text_steps(name));
            (name.as_str(), Node(value))
        })
    }
}

/// The elements of an array.
#[derive(Debug, Clone, Copy)]
pub(super) struct Elements<'a>(&'a [Value]);

impl<'a> Array<'a, Metered> for Elements<'a> {
    type Node = Node<'a>;
    type ElementsIter = std::iter::Map<std::slice::Iter<'a, Value>, fn(&'a Value) -> Node<'a>>;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn elements(&self) -> Self::ElementsIter {
        self.0.iter().map(|value| {
            charge(1);
            Node(value)
        })
    }

    fn is_unique(&self) -> bool {
        for item in self.0 {
            charge(comparison_steps(item));
        }
        <&[Value] as Array<SerdeJson>>::is_unique(&self.0)
    }
}

/// Returns the steps of comparing `value` with the other items of its array: up to fifteen items are
/// compared in pairs, more are hashed.
fn comparison_steps(value: &Value) -> u64 {
    const COMPARISONS: u64 = 8;
    charge(1);
    match value {
        Value::String(text) => COMPARISONS + text_steps(text),
        Value::Array(items) => items.iter().map(comparison_steps).sum::<u64>() + COMPARISONS,
        Value::Object(members) => {
            members
                .iter()
                .map(|(name, value)| text_steps(name) + comparison_steps(value))
                .sum::<u64>()
                + COMPARISONS
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => COMPARISONS,
    }
}
