//! Parses a JSON text. Made for settings, which are short and come from the gateway, not for fast parsing of payloads.

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// Any number; beyond 2^53 it may lose its last digits.
    Number(f64),
    /// A text.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// An object, in the order of the text.
    Table(Vec<(String, Value)>),
}

/// Levels of nesting; deeper texts are refused, so that they cannot exhaust the stack.
const MAX_DEPTH: u32 = 64;

/// Parses a text; the error names the byte at which it is invalid.
pub fn read(text: &str) -> Result<Value, String> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(MAX_DEPTH)?;
    if parser.peek().is_some() { Err(parser.expected("the end of the text")) } else { Ok(value) }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.text.as_bytes().get(self.at).copied()
    }

    /// Consumes `byte` if it is next.
    fn accept(&mut self, byte: u8) -> bool {
        let next = self.peek() == Some(byte);
        self.at += usize::from(next);
        next
    }

    fn expected(&self, what: &str) -> String {
        format!("invalid JSON at byte {}: expected {what}", self.at)
    }

    fn value(&mut self, depth: u32) -> Result<Value, String> {
        let depth = depth.checked_sub(1).ok_or_else(|| format!("JSON nested more than {MAX_DEPTH} levels deep"))?;
        match self.peek() {
            Some(b'{') => self.table(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => Ok(Value::Text(self.text()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.literal(),
        }
    }

    fn table(&mut self, depth: u32) -> Result<Value, String> {
        self.at += 1;
        let mut members = Vec::new();
        if self.accept(b'}') {
            return Ok(Value::Table(members));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.expected("a key"));
            }
            let key = self.text()?;
            if !self.accept(b':') {
                return Err(self.expected("a colon"));
            }
            members.push((key, self.value(depth)?));
            if self.accept(b'}') {
                return Ok(Value::Table(members));
            }
            if !self.accept(b',') {
                return Err(self.expected("a comma or }"));
            }
        }
    }

    fn list(&mut self, depth: u32) -> Result<Value, String> {
        self.at += 1;
        let mut values = Vec::new();
        if self.accept(b']') {
            return Ok(Value::List(values));
        }
        loop {
            values.push(self.value(depth)?);
            if self.accept(b']') {
                return Ok(Value::List(values));
            }
            if !self.accept(b',') {
                return Err(self.expected("a comma or ]"));
            }
        }
    }

    fn number(&mut self) -> Result<Value, String> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')).unwrap_or(rest.len());
        let number = rest.get(..end).and_then(|digits| digits.parse::<f64>().ok()).filter(|number| number.is_finite());
        let number = number.ok_or_else(|| self.expected("a number"))?;
        self.at += end;
        Ok(Value::Number(number))
    }

    fn literal(&mut self) -> Result<Value, String> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let literals = [("null", Value::Null), ("true", Value::Boolean(true)), ("false", Value::Boolean(false))];
        let found = literals.into_iter().find(|(literal, _)| rest.starts_with(literal));
        let (literal, value) = found.ok_or_else(|| self.expected("a value"))?;
        self.at += literal.len();
        Ok(value)
    }

    /// A quoted text; its opening quote is next.
    fn text(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let plain = rest.find(['"', '\\']).ok_or_else(|| self.expected("a closing quote"))?;
            text.push_str(rest.get(..plain).unwrap_or_default());
            self.at += plain + 1;
            if rest.as_bytes().get(plain) == Some(&b'"') {
                return Ok(text);
            }
            text.push(self.escaped()?);
        }
    }

    /// The character that an escape stands for; its backslash is consumed already.
    fn escaped(&mut self) -> Result<char, String> {
        let letter = self.text.as_bytes().get(self.at).copied();
        let character = match letter {
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(letter @ (b'"' | b'\\' | b'/')) => char::from(letter),
            Some(b'u') => return self.unicode(),
            _ => return Err(self.expected("an escape")),
        };
        self.at += 1;
        Ok(character)
    }

    /// `uXXXX`, or two of them for a surrogate pair.
    fn unicode(&mut self) -> Result<char, String> {
        let first = self.unit()?;
        let mut units = vec![first];
        if matches!(first, 0xD800..=0xDBFF) && self.text.as_bytes().get(self.at) == Some(&b'\\') {
            self.at += 1;
            units.push(self.unit()?);
        }
        let mut decoded = char::decode_utf16(units);
        match (decoded.next(), decoded.next()) {
            (Some(Ok(character)), None) => Ok(character),
            _ => Err(self.expected("a complete surrogate pair")),
        }
    }

    fn unit(&mut self) -> Result<u16, String> {
        let digits =
            self.text.get(self.at + 1..self.at + 5).filter(|_| self.text.as_bytes().get(self.at) == Some(&b'u'));
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.expected("u and four hexadecimal digits"))?;
        self.at += 5;
        Ok(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn reads_every_kind_of_value() {
        let check = |json: &str, expected: Value| assert_eq!(read(json), Ok(expected), "{json}");
        check("null", Value::Null);
        check(" true ", Value::Boolean(true));
        check("-12.5e1", Value::Number(-125.0));
        check(r#""a\n\"\\\/\u00e9\ud83d\ude00é""#, text("a\n\"\\/é😀é"));
        check("[ ]", Value::List(vec![]));
        check(
            r#"[1,"b",[false]]"#,
            Value::List(vec![Value::Number(1.0), text("b"), Value::List(vec![Value::Boolean(false)])]),
        );
        check("{}", Value::Table(vec![]));
        check(
            r#"{"b": 1, "a": {"c": null}}"#,
            Value::Table(vec![
                ("b".into(), Value::Number(1.0)),
                ("a".into(), Value::Table(vec![("c".into(), Value::Null)])),
            ]),
        );
    }

    #[test]
    fn errors_name_the_byte() {
        let check = |json: &str, part: &str| {
            let error = read(json).unwrap_err();
            assert!(error.contains(part), "{json}: {error}");
        };
        check("", "byte 0: expected a value");
        check("{\"a\" 1}", "byte 5: expected a colon");
        check("{\"a\":1,}", "byte 7: expected a key");
        check("[1 2]", "byte 3: expected a comma or ]");
        check("nul", "byte 0: expected a value");
        check("1-1", "byte 0: expected a number");
        check("1e999", "byte 0: expected a number");
        check("\"a", "expected a closing quote");
        check("\"\\x\"", "expected an escape");
        check("\"\\ud800\"", "expected a complete surrogate pair");
        check("\"\\ud800\\u0041\"", "expected a complete surrogate pair");
        check("\"\\u12", "expected u and four hexadecimal digits");
        check("\"\\u+123\"", "expected u and four hexadecimal digits");
        check("1 1", "byte 2: expected the end of the text");
        check(&"[".repeat(100), "nested more than 64 levels deep");
    }
}
