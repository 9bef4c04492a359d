//! Builds a JSON value from the parser's events.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use serde_json::Value;

use super::Locations;
use super::budget::{Budget, Size};
use super::frame::{Frame, Key};
use super::locations::RECORDED_DEPTH;
use super::scalar::{self, fits_collection, full_name, is_merge_key};
use crate::limits::MAX_DEPTH;
use crate::path::clip;
use crate::problem::{Location, Problem, ProblemKind, Problems};
use crate::{TemplateError, TemplateLimits};

/// The parser's message for flow collections that are nested too deeply. It comes before their
/// events, because the parser looks ahead for a `:` that would make them keys.
const PARSER_NESTING_LIMIT: &str = "recursion limit exceeded";

/// A document that was read.
#[derive(Debug)]
pub(in super::super) struct Loaded {
    pub(in super::super) value: Value,
    pub(in super::super) warnings: Vec<Problem>,
}

/// Reads the one document in `text`.
pub(in super::super) fn load(text: &str, limits: TemplateLimits) -> Result<Loaded, TemplateError> {
    let mut loader = Loader::new(limits, None);
    if let Err(Fatal { at, kind }) = loader.run(text) {
        loader.errors.push(Some(at), loader.path(), kind);
    }
    if loader.errors.is_empty() && loader.root.as_ref().is_none_or(Value::is_null) {
        loader.errors.push(None, "", ProblemKind::Empty);
    }
    match loader.root {
        Some(value) if loader.errors.is_empty() => Ok(Loaded {
            value,
            warnings: loader.warnings.into_vec(),
        }),
        _ => {
            let mut problems = loader.errors.into_vec();
            problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
            let warnings = loader.warnings.into_vec();
            Err(TemplateError::Unreadable { problems, warnings })
        }
    }
}

/// Reads `text` again for its locations, as far as it can be read.
pub(in super::super) fn locations(text: &str, limits: TemplateLimits) -> Locations {
    let mut loader = Loader::new(limits, Some(Locations::default()));
    // A problem that stops it was reported when the text was read for its value.
    let _ = loader.run(text);
    loader.locations.unwrap_or_default()
}

/// A problem that ends the reading.
struct Fatal {
    at: Location,
    kind: ProblemKind,
}

/// A value that aliases may refer to.
struct Anchored {
    value: Value,
    size: Size,
}

struct Loader {
    budget: Budget,
    /// From the document down to where reading is.
    frames: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    root: Option<Value>,
    documents: usize,
    errors: Problems,
    warnings: Problems,
    locations: Option<Locations>,
}

impl Loader {
    fn new(limits: TemplateLimits, locations: Option<Locations>) -> Self {
        Self {
            budget: Budget::new(limits),
            frames: Vec::new(),
            anchors: HashMap::new(),
            root: None,
            documents: 0,
            errors: Problems::default(),
            warnings: Problems::default(),
            locations,
        }
    }

    fn run(&mut self, text: &str) -> Result<(), Fatal> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| Fatal {
                at: location(error.marker()),
                kind: syntax(error.info()),
            })?;
            self.event(event, location(&span.start))?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, at: Location) -> Result<(), Fatal> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let kind = ProblemKind::SeveralDocuments;
                    return Err(Fatal { at, kind });
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.budget.spend_scalar(&text).map_err(fatal(at))?;
                if self.expects_key() {
                    self.key(text, style, anchor, tag.as_deref(), at);
                    Ok(())
                } else {
                    self.scalar(text, style, anchor, tag.as_deref(), at)
                }
            }
            Event::SequenceStart(anchor, tag) => {
                let frame = Frame::list(anchor, self.budget.now());
                self.open(frame, "seq", tag.as_deref(), at)
            }
            Event::MappingStart(anchor, tag) => {
                let frame = Frame::mapping(anchor, self.budget.now());
                self.open(frame, "map", tag.as_deref(), at)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(at),
            Event::Alias(anchor) => self.alias(anchor, at),
        }
    }

    fn expects_key(&self) -> bool {
        self.frames.last().is_some_and(Frame::expects_key)
    }

    fn open(
        &mut self,
        frame: Frame,
        kind: &str,
        tag: Option<&Tag>,
        at: Location,
    ) -> Result<(), Fatal> {
        if self.expects_key() {
            let kind = ProblemKind::NotAKey;
            return Err(Fatal { at, kind });
        }
        self.budget.spend_nodes(1).map_err(fatal(at))?;
        if let Some(tag) = tag.filter(|tag| !fits_collection(tag, kind)) {
            let tag = clip(&full_name(tag));
            self.error(at, ProblemKind::UnknownTag { tag });
        }
        self.record(at);
        if self.frames.len() >= MAX_DEPTH {
            return Err(too_deep(at));
        }
        self.frames.push(frame);
        Ok(())
    }

    fn close(&mut self, at: Location) -> Result<(), Fatal> {
        let Some(frame) = self.frames.pop() else {
            return Ok(());
        };
        let anchor = frame.anchor;
        let height = frame.height + 1;
        let size = self.budget.size_since(frame.start, height);
        let (value, duplicates) = frame.finish();
        for (at, kind) in duplicates {
            self.error(at, kind);
        }
        self.anchor(anchor, &value, size, at)?;
        self.place(value, height);
        Ok(())
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        at: Location,
    ) -> Result<(), Fatal> {
        self.record(at);
        let size = Size::of_scalar(&text);
        let value = self.scalar_value(text, style, tag, at);
        self.anchor(anchor, &value, size, at)?;
        self.place(value, 0);
        Ok(())
    }

    fn scalar_value(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        at: Location,
    ) -> Value {
        if text.as_bytes().contains(&0) {
            self.error(at, ProblemKind::NulCharacter);
            return Value::Null;
        }
        let is_version = style == ScalarStyle::Plain && tag.is_none() && self.is_at_version();
        let written = is_version.then(|| text.to_string());
        match (scalar::meaning(text, style, tag), written) {
            // As a number, `1.10` would become `1.1`.
            (Ok(meaning), Some(text)) if meaning.value.is_number() => {
                let kind = ProblemKind::UnquotedVersion { text: clip(&text) };
                self.warning(at, kind);
                Value::String(text)
            }
            (Ok(meaning), _) => {
                if let Some(doubt) = meaning.doubt {
                    self.warning(at, doubt);
                }
                meaning.value
            }
            (Err(kind), _) => {
                self.error(at, kind);
                Value::Null
            }
        }
    }

    /// Returns true if the next value is the template's `version`.
    fn is_at_version(&self) -> bool {
        matches!(self.frames.as_slice(), [root] if root.is_at("version"))
    }

    fn key(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        at: Location,
    ) {
        let key = if is_merge_key(&text, style, tag) {
            Key::Merge(at)
        } else {
            if text.as_bytes().contains(&0) {
                self.error(at, ProblemKind::NulCharacter);
            }
            match scalar::meaning(Cow::Borrowed(&text), style, tag) {
                Ok(meaning) if meaning.value.is_string() => {}
                Err(kind @ (ProblemKind::UnknownTag { .. } | ProblemKind::TagMismatch { .. })) => {
                    self.error(at, kind);
                }
                _ => {
                    let key = clip(&text);
                    self.warning(at, ProblemKind::KeyIsNotText { key });
                }
            }
            Key::Text(text.into_owned(), at)
        };
        if let (Key::Text(text, _), 1..) = (&key, anchor) {
            let anchored = Anchored {
                value: Value::String(text.clone()),
                size: Size::of_scalar(text),
            };
            self.anchors.insert(anchor, anchored);
        }
        if let Some(frame) = self.frames.last_mut() {
            frame.set_key(key);
        }
    }

    fn alias(&mut self, anchor: usize, at: Location) -> Result<(), Fatal> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            // The parser refuses aliases of unknown anchors, so this anchor's value has not ended.
            let kind = ProblemKind::AliasOfItself;
            return Err(Fatal { at, kind });
        };
        let size = anchored.size;
        if self.frames.len() + size.height > MAX_DEPTH {
            return Err(too_deep(at));
        }
        self.budget.spend_alias(size).map_err(fatal(at))?;
        // Copy only after the budget allowed it.
        let value = self.anchors[&anchor].value.clone();
        if !self.expects_key() {
            self.record(at);
            self.place(value, size.height);
            return Ok(());
        }
        let Value::String(text) = value else {
            let kind = ProblemKind::NotAKey;
            return Err(Fatal { at, kind });
        };
        if let Some(frame) = self.frames.last_mut() {
            frame.set_key(Key::Text(text, at));
        }
        Ok(())
    }

    /// Keeps a copy of `value` for aliases. The copy counts, because anchors within anchors would
    /// otherwise multiply the document by its depth.
    fn anchor(
        &mut self,
        anchor: usize,
        value: &Value,
        size: Size,
        at: Location,
    ) -> Result<(), Fatal> {
        if anchor == 0 {
            return Ok(());
        }
        self.budget.spend_nodes(size.nodes).map_err(fatal(at))?;
        let value = value.clone();
        self.anchors.insert(anchor, Anchored { value, size });
        Ok(())
    }

    fn place(&mut self, value: Value, height: usize) {
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(value);
            return;
        };
        if let Some((at, kind)) = frame.push(value, height) {
            self.error(at, kind);
        }
    }

    fn record(&mut self, at: Location) {
        if self.locations.is_none() || self.frames.len() > RECORDED_DEPTH {
            return;
        }
        let key = self.frames.last().and_then(Frame::key_location);
        let path = self.path();
        if let Some(locations) = &mut self.locations {
            locations.record(path, key.unwrap_or(at));
        }
    }

    fn error(&mut self, at: Location, kind: ProblemKind) {
        let path = self.path_unless(self.errors.is_full());
        self.errors.push(Some(at), path, kind);
    }

    fn warning(&mut self, at: Location, kind: ProblemKind) {
        let path = self.path_unless(self.warnings.is_full());
        self.warnings.push(Some(at), path, kind);
    }

    /// Returns the path, or an empty text if `is_unread`.
    fn path_unless(&self, is_unread: bool) -> String {
        if is_unread {
            return String::new();
        }
        self.path()
    }

    /// Returns the path of the next value.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.frames {
            let is_first = path.is_empty();
            frame
                .segment()
                .write(&mut path, is_first)
                .expect("a string takes every text");
        }
        path
    }
}

fn location(marker: &Marker) -> Location {
    Location {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

/// Turns a problem into one that ends the reading at this location.
fn fatal(at: Location) -> impl Fn(ProblemKind) -> Fatal {
    move |kind| Fatal { at, kind }
}

fn too_deep(at: Location) -> Fatal {
    let kind = ProblemKind::TooDeep { limit: MAX_DEPTH };
    Fatal { at, kind }
}

fn syntax(detail: &str) -> ProblemKind {
    if detail == PARSER_NESTING_LIMIT {
        return ProblemKind::TooDeep { limit: MAX_DEPTH };
    }
    // Shorten the parser's message, because it may quote a hostile document.
    let detail = detail.chars().take(200).collect();
    ProblemKind::Syntax { detail }
}
