//! Quantities: `100m`, `1.5Gi`, `1e3`. Parsing, upstream's canonical form, comparison and sums.

/// An exact decimal amount with the suffix family it was written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantity {
    /// The value in units of 10^-9.
    pub nano: i128,
    pub format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    BinarySi,
    #[default]
    DecimalSi,
    DecimalExponent,
}
