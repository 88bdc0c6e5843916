//! Where values come from: a text that is pulled, or a tree that is taken apart. One walk serves both.

use std::borrow::Cow;

use crate::json::{Parser, SyntaxError, to_vec};
use crate::value::Name;
use crate::{Map, Value};

type Result<T> = std::result::Result<T, SyntaxError>;

/// What the next value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    Null,
    Bool,
    Number,
    String,
    List,
    Object,
}

pub(super) trait Source {
    fn peek(&mut self) -> Result<Next>;
    fn skip(&mut self) -> Result<()>;
    fn bool(&mut self) -> Result<bool>;
    /// The number's text.
    fn number(&mut self) -> Result<Cow<'_, str>>;
    fn string(&mut self) -> Result<String>;
    /// Any value as a tree.
    fn value(&mut self) -> Result<Value>;
    /// Any value as its JSON text.
    fn raw(&mut self) -> Result<Vec<u8>>;
    /// Each member in turn: `visit` must take its value. Known names of the table can be borrowed by `visit`.
    fn members(&mut self, visit: &mut dyn FnMut(&mut Self, &str) -> Result<()>) -> Result<()>;
    fn items(&mut self, visit: &mut dyn FnMut(&mut Self, usize) -> Result<()>) -> Result<()>;
}

pub(super) struct Text<'p, 'a>(pub(super) &'p mut Parser<'a>);

impl Source for Text<'_, '_> {
    fn peek(&mut self) -> Result<Next> {
        Ok(match self.0.peek()? {
            b'{' => Next::Object,
            b'[' => Next::List,
            b'"' => Next::String,
            b't' | b'f' => Next::Bool,
            b'n' => Next::Null,
            _ => Next::Number,
        })
    }

    fn skip(&mut self) -> Result<()> {
        self.0.skip()
    }

    fn bool(&mut self) -> Result<bool> {
        self.0.boolean()
    }

    fn number(&mut self) -> Result<Cow<'_, str>> {
        self.0.number().map(Cow::Borrowed)
    }

    fn string(&mut self) -> Result<String> {
        self.0.string().map(Cow::into_owned)
    }

    fn value(&mut self) -> Result<Value> {
        self.0.value()
    }

    fn raw(&mut self) -> Result<Vec<u8>> {
        let start = self.0.position();
        self.0.skip()?;
        Ok(self.0.since(start).to_vec())
    }

    fn members(&mut self, visit: &mut dyn FnMut(&mut Self, &str) -> Result<()>) -> Result<()> {
        let mut name = self.0.object_start()?;
        while let Some(n) = name {
            visit(self, &n)?;
            name = self.0.object_next()?;
        }
        Ok(())
    }

    fn items(&mut self, visit: &mut dyn FnMut(&mut Self, usize) -> Result<()>) -> Result<()> {
        let mut more = self.0.list_start()?;
        let mut n = 0;
        while more {
            visit(self, n)?;
            n += 1;
            more = self.0.list_next()?;
        }
        Ok(())
    }
}

/// A tree; the value that is visited sits in the slot.
pub(super) struct Tree(Value);

impl Tree {
    pub(super) fn new(value: Value) -> Self {
        Tree(value)
    }
}

impl Source for Tree {
    fn peek(&mut self) -> Result<Next> {
        Ok(match self.0 {
            Value::Null => Next::Null,
            Value::Bool(_) => Next::Bool,
            Value::Int(_) | Value::Float(_) => Next::Number,
            Value::String(_) => Next::String,
            Value::List(_) => Next::List,
            Value::Map(_) => Next::Object,
        })
    }

    fn skip(&mut self) -> Result<()> {
        self.0 = Value::Null;
        Ok(())
    }

    fn bool(&mut self) -> Result<bool> {
        Ok(self.0.take().is_true())
    }

    fn number(&mut self) -> Result<Cow<'_, str>> {
        Ok(Cow::Owned(String::from_utf8_lossy(&self.raw()?).into_owned()))
    }

    fn string(&mut self) -> Result<String> {
        match self.0.take() {
            Value::String(s) => Ok(s),
            _ => Ok(String::new()),
        }
    }

    fn value(&mut self) -> Result<Value> {
        Ok(self.0.take())
    }

    fn raw(&mut self) -> Result<Vec<u8>> {
        Ok(to_vec(&self.0.take()))
    }

    fn members(&mut self, visit: &mut dyn FnMut(&mut Self, &str) -> Result<()>) -> Result<()> {
        let Value::Map(map) = self.0.take() else { return Ok(()) };
        for (name, value) in Map::into_members(map) {
            self.0 = value;
            let name: Name = name;
            visit(self, &name)?;
        }
        Ok(())
    }

    fn items(&mut self, visit: &mut dyn FnMut(&mut Self, usize) -> Result<()>) -> Result<()> {
        let Value::List(list) = self.0.take() else { return Ok(()) };
        for (n, value) in list.into_iter().enumerate() {
            self.0 = value;
            visit(self, n)?;
        }
        Ok(())
    }
}
