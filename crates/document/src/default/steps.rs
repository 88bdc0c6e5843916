//! Defaulting as data: the steps of a kind in upstream's call order. Crate `api` carries them as statics.

/// A way into an object.
pub type Path = &'static [Segment];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment {
    Name(&'static str),
    /// Every item of a list.
    Items,
    /// Every value of a map.
    Values,
}

/// One step of a kind's defaulting.
#[derive(Debug)]
pub struct Step {
    pub at: Path,
    pub run: Run,
}

#[derive(Debug)]
pub enum Run {
    /// Sets the field at the path when it is unset.
    Default(Literal),
    /// Runs the operations on every value at the path.
    Function(&'static [Operation]),
}

/// A constant of any shape.
#[derive(Debug)]
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    String(&'static str),
    List(&'static [Literal]),
    Map(&'static [(&'static str, Literal)]),
}

#[derive(Debug)]
pub struct Operation {
    pub action: Action,
    /// All must hold.
    pub conditions: &'static [Condition],
}

#[derive(Debug)]
pub enum Action {
    Set {
        path: Path,
        to: To,
        when: When,
    },
    Clear(Path),
    /// Copies the members of `from` that `path` lacks.
    Fill {
        path: Path,
        from: Path,
    },
    /// What stands at `path` over the literal, by top-level member.
    Merge {
        path: Path,
        over: Literal,
    },
    /// Rounds quantities up to 10^scale.
    RoundUp {
        path: Path,
        scale: i32,
    },
    Special(Special),
}

#[derive(Debug)]
pub enum To {
    Literal(Literal),
    From(Path),
    Lower(Path),
    /// The value at the path and a suffix.
    Concat(Path, &'static str),
    /// The time in whole seconds.
    Now,
}

/// When a `Set` takes effect.
#[derive(Debug)]
pub enum When {
    /// Absent, "" or, for a number or flag that is no pointer, its zero.
    Unset,
    /// As `Unset`, and for an empty list or map.
    Empty,
    /// Only when absent.
    Nil,
    /// As `Unset`, and for these values.
    OneOf(&'static [Literal]),
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    PodIps,
    StoredVersions,
    PodLevelResources,
}

#[derive(Debug)]
pub enum Condition {
    Equal(Path, Literal),
    In(Path, &'static [Literal]),
    Has(Path),
    Lacks(Path),
    Less(Path, i64),
    All(&'static [Condition]),
    Any(&'static [Condition]),
    Not(&'static Condition),
    /// The tag of an image reference, with no tag and no digest read as `latest`.
    ImageTag(Path, &'static str),
    /// None of these members is present.
    NoneOf(&'static [&'static str]),
}
