//! A value as the key of a hash table, for look-ups in long lists of values. Values that are equal hash alike: the order
//! of members does not count, nor does the sign of zero.

use std::hash::{Hash, Hasher};

use crate::Value;

/// A borrowed value, compared and hashed by what it is. (What is no number would not equal itself; no decoder makes it.)
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ByValue<'a>(pub &'a Value);

impl Eq for ByValue<'_> {}

impl Hash for ByValue<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self.0).hash(state);
        match self.0 {
            Value::Null => {}
            Value::Bool(b) => b.hash(state),
            Value::Int(n) => n.hash(state),
            // minus zero equals zero
            Value::Float(x) => (x + 0.0).to_bits().hash(state),
            Value::String(text) => text.hash(state),
            Value::List(list) => {
                list.len().hash(state);
                list.iter().for_each(|item| ByValue(item).hash(state));
            }
            Value::Map(map) => {
                let mut members: Vec<_> = map.iter().collect();
                members.sort_unstable_by_key(|(name, _)| *name);
                members.len().hash(state);
                for (name, value) in members {
                    name.hash(state);
                    ByValue(value).hash(state);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::doc;

    #[test]
    fn equal_values_are_one_key() {
        let values = [
            doc!({"a": 1, "b": [0.0]}),
            doc!({"b": [(-0.0)], "a": 1}),
            doc!({"a": 1.0, "b": [0.0]}),
            doc!(null),
            doc!("null"),
        ];
        assert_eq!(values.iter().map(ByValue).collect::<HashSet<_>>().len(), 4);
    }
}
