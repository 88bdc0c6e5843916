//! Label sets and label selectors: upstream's `labels.Selector` with its grammar and error texts.

use std::fmt;
use std::sync::Arc;

/// The labels of one object, sorted by key; cheap to clone, so that equal sets can be shared.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[(Box<str>, Box<str>)]>);

impl Labels {
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        self.0.get(at).map(|(_, v)| &**v)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (&**k, &**v))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut list: Vec<(Box<str>, Box<str>)> = pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        list.sort();
        Labels(list.into())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// `key=value` and `key==value` are both this; they differ from `in` only when printed.
    Equals,
    NotEquals,
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    /// Sorted.
    pub values: Vec<String>,
}

impl Requirement {
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::Equals | Operator::In => value.is_some_and(|v| self.values.iter().any(|w| w == v)),
            Operator::NotEquals | Operator::NotIn => value.is_none_or(|v| self.values.iter().all(|w| w != v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => self.compare(value).is_some_and(|(v, w)| v > w),
            Operator::LessThan => self.compare(value).is_some_and(|(v, w)| v < w),
        }
    }

    fn compare(&self, value: Option<&str>) -> Option<(i64, i64)> {
        Some((value?.parse().ok()?, self.values.first()?.parse().ok()?))
    }
}

/// All requirements must hold; none at all selects everything. Requirements are sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    pub requirements: Vec<Requirement>,
}

impl Selector {
    pub fn everything() -> Self {
        Selector::default()
    }

    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|r| r.matches(labels))
    }

    /// A selector for exactly these labels, as `matchLabels` or a Service's selector mean it.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut requirements: Vec<Requirement> = pairs
            .into_iter()
            .map(|(k, v)| Requirement { key: k.into(), operator: Operator::Equals, values: vec![v.into()] })
            .collect();
        requirements.sort();
        Selector { requirements }
    }

    /// Parses the query form (`a=b,c!=d,e in (f,g),!h,i`).
    ///
    /// # Errors
    /// Upstream's text, which the server puts into a 400.
    pub fn parse(text: &str) -> Result<Self, String> {
        parser::parse(text)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, r) in self.requirements.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { "," })?;
            r.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator {
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

mod parser {
    //! Tokens and grammar of the query form.

    use super::{Operator, Requirement, Selector};
    use crate::goquote::quote;
    use crate::names;

    struct Lexer<'a> {
        rest: &'a str,
    }

    #[derive(Clone, Debug, PartialEq)]
    enum Token {
        End,
        Word(String),
        Symbol(&'static str),
    }

    impl Token {
        fn text(&self) -> &str {
            match self {
                Token::End => "",
                Token::Word(w) => w,
                Token::Symbol(s) => s,
            }
        }

        fn is_keyword(&self) -> bool {
            matches!(self, Token::Word(w) if w == "in" || w == "notin")
        }
    }

    const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

    impl Lexer<'_> {
        fn peek(&self) -> Token {
            Lexer { rest: self.rest }.next()
        }

        fn next(&mut self) -> Token {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
            if self.rest.is_empty() {
                return Token::End;
            }
            if let Some(symbol) = SYMBOLS.iter().find(|s| self.rest.starts_with(**s)) {
                self.rest = &self.rest[symbol.len()..];
                return Token::Symbol(symbol);
            }
            let end =
                self.rest.find([' ', '\t', '\r', '\n', '=', '!', '(', ')', ',', '>', '<']).unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at(end);
            self.rest = rest;
            Token::Word(word.to_owned())
        }
    }

    pub(super) fn parse(text: &str) -> Result<Selector, String> {
        let mut lexer = Lexer { rest: text };
        let mut requirements = Vec::new();
        loop {
            match lexer.peek() {
                Token::Word(_) | Token::Symbol("!") => {
                    requirements.push(requirement(&mut lexer).map_err(|e| format!("unable to parse requirement: {e}"))?)
                }
                Token::End => break,
                token => return Err(format!("found '{}', expected: !, identifier, or 'end of string'", token.text())),
            }
            match lexer.next() {
                Token::End => break,
                Token::Symbol(",") => match lexer.peek() {
                    Token::Word(_) | Token::Symbol("!") => {}
                    token => return Err(format!("found '{}', expected: identifier after ','", token.text())),
                },
                token => return Err(format!("found '{}', expected: ',' or 'end of string'", token.text())),
            }
        }
        requirements.sort_by(|a: &Requirement, b| a.key.cmp(&b.key));
        Ok(Selector { requirements })
    }

    fn requirement(lexer: &mut Lexer<'_>) -> Result<Requirement, String> {
        let negated = lexer.peek() == Token::Symbol("!");
        if negated {
            lexer.next();
        }
        let key = match lexer.next() {
            Token::Word(w) => w,
            token => return Err(format!("found '{}', expected: identifier", token.text())),
        };
        check_key(&key)?;
        if negated {
            return Ok(Requirement { key, operator: Operator::DoesNotExist, values: vec![] });
        }
        if matches!(lexer.peek(), Token::End | Token::Symbol(",")) {
            return Ok(Requirement { key, operator: Operator::Exists, values: vec![] });
        }
        let operator = operator(lexer)?;
        let mut values = match operator {
            Operator::In | Operator::NotIn => set(lexer)?,
            _ => vec![exact(lexer)?],
        };
        values.sort();
        values.dedup();
        check_values(&key, operator, &values)?;
        Ok(Requirement { key, operator, values })
    }

    fn operator(lexer: &mut Lexer<'_>) -> Result<Operator, String> {
        let token = lexer.next();
        Ok(match token.text() {
            "=" | "==" => Operator::Equals,
            "!=" => Operator::NotEquals,
            "in" => Operator::In,
            "notin" => Operator::NotIn,
            ">" => Operator::GreaterThan,
            "<" => Operator::LessThan,
            other => return Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
        })
    }

    fn set(lexer: &mut Lexer<'_>) -> Result<Vec<String>, String> {
        match lexer.next() {
            Token::Symbol("(") => {}
            token => return Err(format!("found '{}' expected: '('", token.text())),
        }
        let mut values = Vec::new();
        loop {
            match lexer.peek() {
                Token::Word(w) => {
                    lexer.next();
                    values.push(w);
                    match lexer.next() {
                        Token::Symbol(",") => {
                            if lexer.peek() == Token::Symbol(")") {
                                lexer.next();
                                values.push(String::new());
                                return Ok(values);
                            }
                        }
                        Token::Symbol(")") => return Ok(values),
                        token => return Err(format!("found '{}', expected: ',' or ')'", token.text())),
                    }
                }
                Token::Symbol(",") => {
                    lexer.next();
                    values.push(String::new());
                    if lexer.peek() == Token::Symbol(")") {
                        lexer.next();
                        values.push(String::new());
                        return Ok(values);
                    }
                }
                Token::Symbol(")") if values.is_empty() => {
                    lexer.next();
                    return Ok(vec![String::new()]);
                }
                token => return Err(format!("found '{}', expected: ',', ')' or identifier", token.text())),
            }
        }
    }

    fn exact(lexer: &mut Lexer<'_>) -> Result<String, String> {
        match lexer.peek() {
            Token::End | Token::Symbol(",") => Ok(String::new()),
            Token::Word(w) => {
                let _ = lexer.next();
                Ok(w)
            }
            token if token.is_keyword() => Ok(token.text().to_owned()),
            token => Err(format!("found '{}', expected: identifier", token.text())),
        }
    }

    fn check_key(key: &str) -> Result<(), String> {
        match names::label_key(key).as_slice() {
            [] => Ok(()),
            errors => Err(format!("<nil>: Invalid value: {}: {}", quote(key), errors.join("; "))),
        }
    }

    fn check_values(key: &str, operator: Operator, values: &[String]) -> Result<(), String> {
        if matches!(operator, Operator::GreaterThan | Operator::LessThan) {
            let value = values.first().map(String::as_str).unwrap_or_default();
            if value.parse::<i64>().is_err() {
                return Err(format!(
                    "values[0]: Invalid value: {}: for 'Gt', 'Lt' operators, the value must be an integer",
                    quote(value)
                ));
            }
        }
        for (n, value) in values.iter().enumerate() {
            if let errors @ [_, ..] = names::label_value(value).as_slice() {
                return Err(format!("values[{n}][{key}]: Invalid value: {}: {}", quote(value), errors.join("; ")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, labels: &[(&str, &str)], want: bool) {
        let labels: Labels = labels.iter().copied().collect();
        let selector = Selector::parse(text).unwrap();
        assert_eq!(selector.matches(&labels), want, "{text} on {labels:?}");
    }

    #[test]
    fn every_operator_selects_as_upstream_does() {
        check("", &[("a", "b")], true);
        check("a=b,c!=d", &[("a", "b")], true);
        check("a==b", &[("a", "c")], false);
        check("a in (b, c)", &[("a", "c")], true);
        check("a notin (b)", &[], true);
        check("!a", &[("a", "")], false);
        check("a", &[("a", "")], true);
        check("a>3", &[("a", "4")], true);
        check("a<3", &[("a", "x")], false);
        check("a in ()", &[("a", "")], true);
    }

    #[test]
    fn a_broken_selector_is_refused_with_upstreams_text() {
        for (text, want) in [
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a,", "found '', expected: identifier after ','"),
            ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ] {
            assert_eq!(Selector::parse(text).unwrap_err(), want);
        }
    }
}
