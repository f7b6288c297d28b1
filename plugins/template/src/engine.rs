//! Compiles and renders templates; their errors name the template, the line and the column.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, UndefinedBehavior, filters, tests};

use bessai_plugin::json;

/// The templates of one feed.
pub(crate) struct Templates {
    environment: Environment<'static>,
}

impl Templates {
    /// An environment in which an unknown name is an error, not an empty text.
    pub(crate) fn new() -> Self {
        // Only what is of use in a message: each filter adds to the size of the plugin.
        let mut environment = Environment::empty();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_formatter(format);
        environment.add_filter("abs", filters::abs);
        environment.add_filter("default", filters::default);
        environment.add_filter("float", filters::float);
        environment.add_filter("int", filters::int);
        environment.add_filter("items", filters::items);
        environment.add_filter("join", filters::join);
        environment.add_filter("length", filters::length);
        environment.add_filter("lower", filters::lower);
        environment.add_filter("replace", filters::replace);
        environment.add_filter("round", round);
        environment.add_filter("tojson", to_json);
        environment.add_filter("upper", filters::upper);
        environment.add_test("defined", tests::is_defined);
        environment.add_test("missing", is_missing);
        environment.add_test("string", tests::is_string);
        environment.add_test("undefined", tests::is_undefined);
        Self { environment }
    }

    /// Compiles a template under the name of its key.
    pub(crate) fn add(&mut self, key: &'static str, source: &str) -> Result<(), String> {
        self.environment.add_template_owned(key, source.to_owned()).map_err(|error| sentence(key, source, &error))
    }

    /// The names that a template uses and does not set itself.
    pub(crate) fn names(&self, key: &str) -> Vec<String> {
        let Ok(template) = self.environment.get_template(key) else { return Vec::new() };
        let mut names: Vec<_> = template.undeclared_variables(false).into_iter().collect();
        names.sort_unstable();
        names
    }

    /// Renders a template that was added.
    pub(crate) fn render(&self, key: &'static str, context: Value) -> Result<String, String> {
        let template = self.environment.get_template(key).map_err(|error| sentence(key, "", &error))?;
        template.render(context).map_err(|error| sentence(key, template.source(), &error))
    }
}

/// Where the error is, what it is, and what was found there.
fn sentence(key: &str, source: &str, error: &Error) -> String {
    let what = match (error.detail(), error.kind()) {
        (Some(detail), ErrorKind::SyntaxError) => format!("syntax error: {detail}"),
        (Some(detail), _) => detail.to_owned(),
        (None, kind) => kind.to_string(),
    };
    let Some(line) = error.line() else { return format!("config.{key}: {what}") };
    let Some(range) = error.range() else { return format!("config.{key}, line {line}: {what}") };
    let before = source.get(..range.start).unwrap_or_default();
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    let found = source.get(range).filter(|found| !found.contains('\n')).unwrap_or_default();
    let found = if found.is_empty() { String::new() } else { format!(" at {found:?}") };
    format!("config.{key}, line {line}, column {column}: {what}{found}")
}

/// The place of a name in a template's source: its line and column.
pub(crate) fn place(source: &str, name: &str) -> Option<(usize, usize)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut matches = source.match_indices(name).filter(|(at, _)| {
        let before = source.get(..*at).and_then(|before| before.chars().next_back());
        let after = source.get(at + name.len()..).and_then(|after| after.chars().next());
        // A name after a dot is that of a member, and one outside of braces is text.
        let is_code = source.get(..*at).is_some_and(open);
        is_code && !before.is_some_and(|c| is_word(c) || c == '.') && !after.is_some_and(is_word)
    });
    let (at, _) = matches.next()?;
    let before = source.get(..at)?;
    Some((before.matches('\n').count() + 1, before.chars().rev().take_while(|&c| c != '\n').count() + 1))
}

/// Whether a text ends within a `{{` or `{%`.
fn open(before: &str) -> bool {
    let last = |marks: [&str; 2]| marks.iter().filter_map(|mark| before.rfind(mark)).max();
    last(["{{", "{%"]) > last(["}}", "%}"])
}

/// Numbers as in JSON: the shortest digits, and `null` for a missing value.
fn format(out: &mut Output, _: &mut State, value: &Value) -> Result<(), Error> {
    let written = match value.kind() {
        ValueKind::Undefined => return Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::None => out.write_str("null"),
        ValueKind::Number if !value.is_integer() => out.write_str(&number(value)),
        _ => match value.as_str() {
            Some(text) => out.write_str(text),
            None => out.write_str(&value.to_string()),
        },
    };
    written.map_err(Error::from)
}

/// The shortest digits of a number that is no integer.
fn number(value: &Value) -> String {
    let mut digits = Vec::new();
    json::append_number(&mut digits, f64::try_from(value.clone()).unwrap_or(f64::NAN));
    String::from_utf8(digits).unwrap_or_default()
}

/// Rounds half away from zero; a missing value stays missing.
fn round(value: f64, decimals: Option<i32>) -> f64 {
    /// More decimals than a double has.
    const MOST: i32 = 15;
    crate::row::rounded(value, decimals.unwrap_or(0).clamp(0, MOST))
}

/// Whether a channel has no good value.
fn is_missing(value: &Value) -> bool {
    value.kind() == ValueKind::Number && f64::try_from(value.clone()).is_ok_and(f64::is_nan)
}

/// A value as JSON: texts quoted and escaped, lists and tables with all they have.
fn to_json(value: &Value, _: Kwargs) -> Result<Value, Error> {
    let mut bytes = Vec::new();
    append_json(&mut bytes, value)?;
    Ok(Value::from(String::from_utf8(bytes).unwrap_or_default()))
}

fn append_json(bytes: &mut Vec<u8>, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Undefined => return Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::None => bytes.extend_from_slice(b"null"),
        ValueKind::Number if !value.is_integer() => bytes.extend_from_slice(number(value).as_bytes()),
        ValueKind::Bool | ValueKind::Number => bytes.extend_from_slice(value.to_string().as_bytes()),
        ValueKind::Map => {
            bytes.push(b'{');
            for (position, key) in value.try_iter()?.enumerate() {
                if position > 0 {
                    bytes.push(b',');
                }
                json::append_text(bytes, &key.to_string());
                bytes.push(b':');
                append_json(bytes, &value.get_item(&key)?)?;
            }
            bytes.push(b'}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            bytes.push(b'[');
            for (position, item) in value.try_iter()?.enumerate() {
                if position > 0 {
                    bytes.push(b',');
                }
                append_json(bytes, &item)?;
            }
            bytes.push(b']');
        }
        _ => json::append_text(bytes, &value.to_string()),
    }
    Ok(())
}
