//! What the scheduler knows of a node.

use document::Value;
use meta::labels::Labels;

use crate::resources::Resources;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NodeFacts {
    pub(crate) name: String,
    pub(crate) labels: Labels,
    pub(crate) unschedulable: bool,
    pub(crate) taints: Vec<Taint>,
    pub(crate) allocatable: Resources,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taint {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) effect: String,
}

impl NodeFacts {
    pub(crate) fn of(node: &Value) -> Self {
        let text = |v: &Value| v.str().to_owned();
        let taint = |t: &Value| Taint { key: text(&t["key"]), value: text(&t["value"]), effect: text(&t["effect"]) };
        NodeFacts {
            name: text(&node["metadata"]["name"]),
            labels: node["metadata"]["labels"].members().map(|(k, v)| (k, v.str())).collect(),
            unschedulable: node["spec"]["unschedulable"].is_true(),
            taints: node["spec"]["taints"].items().iter().map(taint).collect(),
            allocatable: Resources::of(&node["status"]["allocatable"]),
        }
    }
}
