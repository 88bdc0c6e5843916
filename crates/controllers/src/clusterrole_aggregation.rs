//! clusterrole-aggregation-controller: a ClusterRole with an aggregationRule has the rules of all that it selects.

use std::sync::Arc;

use client::{Api, CLUSTER_ROLES, Informer, Scope, WorkQueue};
use document::Value;
use meta::Status;
use meta::labels::{Labels, Selector};

use crate::command::Command;
use crate::driver::{Outcome, Tasks, Work};
use crate::{Config, World};

/// What is to be known of a ClusterRole.
struct Role {
    labels: Labels,
    rules: Vec<Value>,
    /// Of an aggregated one.
    selectors: Option<Vec<Selector>>,
}

struct Aggregation {
    api: Api,
    roles: Informer<Role>,
}

pub(crate) fn start(tasks: &mut Tasks, _: &Config, world: &World) {
    let roles =
        Informer::start(&world.reader, Scope::all(CLUSTER_ROLES), |o| role(o.labels.clone(), &client::object::item(o)));
    let queue = WorkQueue::new();
    let changed = queue.clone();
    roles.on_change(move |_| changed.add(()));
    tasks.work(1, &queue, &Arc::new(Aggregation { api: world.api.clone(), roles }));
}

/// Any role may matter to any other: all are looked at, with one key for all.
impl Work<()> for Aggregation {
    const NAME: &'static str = "clusterrole-aggregation-controller";

    async fn sync(&self, (): ()) -> Outcome {
        self.roles.synced().await;
        let known = self.roles.list();
        let all: Vec<(&str, &Role)> = known.iter().map(|k| (&*k.key.name, &k.facts)).collect();
        let mut failed = None;
        for (name, rules) in all.iter().filter_map(|(name, _)| Some((*name, plan(name, &all)?))) {
            if let Err(error) = self.update(name, rules).await {
                failed = Some(error);
            }
        }
        failed.map_or(Ok(None), Err)
    }
}

impl Aggregation {
    async fn update(&self, name: &str, rules: Vec<Value>) -> Result<(), Status> {
        let mut object = match self.api.get(&CLUSTER_ROLES, "", name).await {
            Err(error) if error.is_not_found() => return Ok(()),
            outcome => outcome?,
        };
        object.set("rules", if rules.is_empty() { Value::Null } else { Value::List(rules) });
        Command::Update { resource: CLUSTER_ROLES, subresource: "", object }.perform(&self.api).await
    }
}

fn role(labels: Labels, object: &Value) -> Role {
    let rule = object["aggregationRule"].as_map();
    let selectors = |rule: &document::Map| {
        let list = rule.get("clusterRoleSelectors").map(Value::items).unwrap_or_default();
        list.iter().filter_map(::api::label_selector).collect()
    };
    Role { labels, rules: object["rules"].items().to_vec(), selectors: rule.map(selectors) }
}

/// The rules that a role is to have, when it has others: by selector, then by name, each once.
fn plan(name: &str, all: &[(&str, &Role)]) -> Option<Vec<Value>> {
    let (_, this) = all.iter().find(|(n, _)| *n == name)?;
    let mut rules: Vec<Value> = Vec::new();
    for selector in this.selectors.as_ref()? {
        let selected = all.iter().filter(|(n, role)| *n != name && selector.matches(&role.labels));
        for rule in selected.flat_map(|(_, role)| &role.rules) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    (rules != this.rules).then_some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    fn of(label: &str, object: Value) -> Role {
        role(label.split_once('=').into_iter().collect(), &object)
    }

    fn rule(resource: &str) -> Value {
        doc!({"resources": [resource]})
    }

    #[test]
    fn rules_are_taken_by_selector_then_name_and_each_once() {
        let into = doc!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"into": "x"}}, {"matchExpressions": [{"key": "also", "operator": "Exists"}]}]}});
        let target = of("into=x", into);
        let a = of("also=1", doc!({"rules": [(rule("secrets")), (rule("pods"))]}));
        let b = of("into=x", doc!({"rules": [(rule("pods"))]}));
        let other = of("c=d", doc!({"rules": [(rule("nodes"))]}));
        let all = [("a", &a), ("all", &target), ("b", &b), ("other", &other)];
        assert_eq!(plan("all", &all), Some(vec![rule("pods"), rule("secrets")]));
        assert_eq!(plan("a", &all), None);
        let done = Role { rules: vec![rule("pods")], ..target };
        assert_eq!(plan("all", &[("all", &done), ("b", &b)]), None);
        assert_eq!(plan("all", &[("all", &done)]), Some(vec![]));
    }
}
