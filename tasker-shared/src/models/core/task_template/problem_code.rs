//! Names of the kinds of problems, for programs.

use super::ProblemKind;

impl ProblemKind {
    /// Returns the name of the kind, such as `unknown_key`. It stays the same in all releases.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::NotUtf8 => "not_utf8",
            Self::ControlCharacter { .. } => "control_character",
            Self::Empty => "empty",
            Self::SeveralDocuments => "several_documents",
            Self::Syntax { .. } => "syntax",
            Self::TooDeep { .. } => "too_deep",
            Self::TooManyNodes { .. } => "too_many_nodes",
            Self::AliasesTooLarge { .. } => "aliases_too_large",
            Self::AliasOfItself => "alias_of_itself",
            Self::DuplicateKey { .. } => "duplicate_key",
            Self::NotAKey => "not_a_key",
            Self::NotMergeable => "not_mergeable",
            Self::NotAJsonNumber { .. } => "not_a_json_number",
            Self::HugeNumber { .. } => "huge_number",
            Self::UnknownTag { .. } => "unknown_tag",
            Self::TagMismatch { .. } => "tag_mismatch",
            Self::NulCharacter => "nul_character",
            Self::UnquotedVersion { .. } => "unquoted_version",
            Self::KeyIsNotText { .. } => "key_is_not_text",
            Self::LeadingZero { .. } => "leading_zero",
            Self::OldBoolean { .. } => "old_boolean",
            Self::Missing => "missing",
            Self::WrongType { .. } => "wrong_type",
            Self::OutOfRange { .. } => "out_of_range",
            Self::TooLong { .. } => "too_long",
            Self::BadCharacters { .. } => "bad_characters",
            Self::UnknownValue { .. } => "unknown_value",
            Self::TypeGivenTwice => "type_given_twice",
            Self::DuplicateStep { .. } => "duplicate_step",
            Self::UnknownDependency { .. } => "unknown_dependency",
            Self::SelfDependency => "self_dependency",
            Self::MisspeltGraphKey { .. } => "misspelt_graph_key",
            Self::InputSchema { .. } => "input_schema",
            Self::Cycle { .. } => "cycle",
            Self::More { .. } => "more",
            Self::NoSteps => "no_steps",
            Self::LongDescription { .. } => "long_description",
            Self::ZeroAttempts => "zero_attempts",
            Self::RepeatedDependency { .. } => "repeated_dependency",
            Self::UnknownStep { .. } => "unknown_step",
            Self::NotABatchWorker { .. } => "not_a_batch_worker",
            Self::UnusedBatchWorker => "unused_batch_worker",
            Self::NothingToConverge => "nothing_to_converge",
            Self::UndeclaredEvent { .. } => "undeclared_event",
            Self::UnknownKey { .. } => "unknown_key",
            Self::NotOverridable { .. } => "not_overridable",
            Self::NoTaskHandler => "no_task_handler",
            Self::EmptyOverride => "empty_override",
        }
    }
}
