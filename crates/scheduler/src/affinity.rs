//! Node selector terms: expressions over a node's labels and over its name.

use document::Value;
use meta::labels::{Operator, Requirement};

use crate::node::NodeFacts;

/// All expressions must hold; a term without any matches nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Term {
    labels: Vec<Requirement>,
    /// Over `metadata.name`: is it among these, or not?
    names: Vec<(bool, Vec<String>)>,
    broken: bool,
}

pub(crate) fn terms(list: &Value) -> Vec<Term> {
    list.items().iter().map(Term::of).collect()
}

impl Term {
    pub(crate) fn of(term: &Value) -> Self {
        let mut parsed = Term::default();
        for expression in term["matchExpressions"].items() {
            match requirement(expression) {
                Some(requirement) => parsed.labels.push(requirement),
                None => parsed.broken = true,
            }
        }
        for field in term["matchFields"].items() {
            match (field["key"].str(), field["operator"].str()) {
                ("metadata.name", "In") => parsed.names.push((true, values(field))),
                ("metadata.name", "NotIn") => parsed.names.push((false, values(field))),
                _ => parsed.broken = true,
            }
        }
        parsed
    }

    pub(crate) fn matches(&self, node: &NodeFacts) -> bool {
        let is_empty = self.labels.is_empty() && self.names.is_empty();
        !self.broken
            && !is_empty
            && self.labels.iter().all(|r| r.matches(&node.labels))
            && self.names.iter().all(|(among, names)| names.contains(&node.name) == *among)
    }
}

fn requirement(expression: &Value) -> Option<Requirement> {
    let operator = match expression["operator"].str() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::GreaterThan,
        "Lt" => Operator::LessThan,
        _ => return None,
    };
    Some(Requirement { key: expression["key"].str().to_owned(), operator, values: values(expression) })
}

fn values(expression: &Value) -> Vec<String> {
    expression["values"].items().iter().map(|v| v.str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    #[test]
    fn terms_select_by_label_and_name() {
        let node = NodeFacts::of(&doc!({"metadata": {"name": "n", "labels": {"zone": "a", "cores": "8"}}}));
        for (term, want) in [
            (doc!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}), true),
            (doc!({"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["4"]}]}), true),
            (doc!({"matchExpressions": [{"key": "cores", "operator": "Lt", "values": ["4"]}]}), false),
            (doc!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}), true),
            (doc!({"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["n"]}]}), false),
            (doc!({"matchExpressions": [{"key": "zone", "operator": "Near"}]}), false),
            (doc!({}), false),
        ] {
            assert_eq!(Term::of(&term).matches(&node), want, "{term:?}");
        }
    }
}
