//! What objects cost under a ResourceQuota: which quota names count a resource, what one object uses of each, and in
//! which scopes it is. Pure: admission charges with it, the controller sums with it. Not here: any decision.

mod claims;
pub mod pod;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

use document::Value;
use meta::{Quantity, Time, quantity::Format};

/// A `ResourceList`: amounts by resource name.
pub type Amounts = BTreeMap<Cow<'static, str>, Quantity>;

/// Not counted: what is never stored, and Events, which never were.
const IGNORED: [(&str, &str); 10] = [
    ("", "bindings"),
    ("", "componentstatuses"),
    ("", "events"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
    ("events.k8s.io", "events"),
];

/// Counted by their plural, too, as they were before `count/…`.
const OLD_NAMES: [&str; 4] = ["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];

/// How the objects of one resource are counted (upstream's `Evaluator`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluator {
    kind: Kind,
    /// `count/deployments.apps`
    count: String,
    /// `secrets`, for the few that have such a name.
    old_name: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pods,
    Services,
    VolumeClaims,
    DeviceClaims,
    Objects,
}

/// What is done to the object that is to be charged.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    Create,
    Update { old: &'a Value },
}

/// DeviceClasses that stand for an extended resource: class and resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceClasses(BTreeMap<String, String>);

/// What one object costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measure {
    usage: Amounts,
    /// From then on only the object itself counts.
    until: Option<Time>,
    /// What counts afterwards.
    rest: Amounts,
    scopes: Scopes,
}

/// In which scopes an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scopes {
    None,
    Pod {
        terminating: bool,
        best_effort: bool,
        cross_namespace: bool,
        priority_class: String,
    },
    /// Names of VolumeAttributesClasses.
    VolumeClaim(Vec<String>),
}

impl Evaluator {
    /// `None`: nothing of this resource is ever counted.
    pub fn of(group: &str, plural: &str) -> Option<Evaluator> {
        if IGNORED.contains(&(group, plural)) {
            return None;
        }
        let kind = match (group, plural) {
            ("", "pods") => Kind::Pods,
            ("", "services") => Kind::Services,
            ("", "persistentvolumeclaims") => Kind::VolumeClaims,
            ("resource.k8s.io", "resourceclaims") => Kind::DeviceClaims,
            _ => Kind::Objects,
        };
        let count = if group.is_empty() { format!("count/{plural}") } else { format!("count/{plural}.{group}") };
        let old_name = OLD_NAMES.into_iter().find(|n| group.is_empty() && *n == plural);
        Some(Evaluator { kind, count, old_name })
    }

    /// Can this change use more than was used before?
    pub fn handles(&self, change: Change<'_>, subresource: &str, new: &Value) -> bool {
        match (self.kind, subresource, change) {
            (Kind::Pods, "", Change::Update { old }) => pod::is_terminating(old) != pod::is_terminating(new),
            (Kind::Pods, "resize", Change::Update { .. }) => true,
            (Kind::VolumeClaims, "status", Change::Update { .. }) => true,
            (Kind::Services | Kind::VolumeClaims | Kind::DeviceClaims, "", _) => true,
            (_, "", Change::Create) => true,
            _ => false,
        }
    }

    /// Does this name of a quota count these objects?
    pub fn tracks(&self, name: &str, classes: &DeviceClasses) -> bool {
        if name == self.count || self.old_name == Some(name) {
            return true;
        }
        match self.kind {
            Kind::Pods => pod::tracks(name),
            Kind::Services => ["services", "services.nodeports", "services.loadbalancers"].contains(&name),
            Kind::VolumeClaims => claims::tracks_volumes(name),
            Kind::DeviceClaims => claims::tracks_devices(name, classes),
            Kind::Objects => false,
        }
    }

    /// Needs `tracks` or `measure` to know the DeviceClasses?
    pub fn needs_classes(&self) -> bool {
        self.kind == Kind::DeviceClaims
    }

    pub fn measure(&self, object: &Value, classes: &DeviceClasses) -> Measure {
        let one = || Quantity::new(1, Format::DecimalSi);
        let rest = Amounts::from([(Cow::Owned(self.count.clone()), one())]);
        let mut usage = rest.clone();
        usage.extend(self.old_name.map(|name| (Cow::Borrowed(name), one())));
        let mut measure = Measure { usage, until: None, rest, scopes: Scopes::None };
        match self.kind {
            Kind::Pods => pod::measure(object, &mut measure),
            Kind::Services => measure.usage.extend(service(&object["spec"])),
            Kind::VolumeClaims => {
                measure.usage.extend(claims::volumes(object));
                measure.scopes = Scopes::VolumeClaim(claims::attributes_classes(object));
            }
            Kind::DeviceClaims => measure.usage.extend(claims::devices(object, classes)),
            Kind::Objects => {}
        }
        measure
    }

    /// What an object must say when a quota counts these names: upstream's `must specify …`.
    pub fn constraint(&self, names: &[&str], object: &Value) -> Option<String> {
        if self.kind == Kind::Pods { pod::constraint(names, object) } else { None }
    }
}

impl Measure {
    /// What counts at a moment.
    pub fn usage(&self, now: Time) -> &Amounts {
        if self.until.is_some_and(|end| now > end) { &self.rest } else { &self.usage }
    }

    /// Is the object in all scopes that a quota's spec names?
    pub fn is_in_scopes(&self, spec: &Value) -> bool {
        let plain = spec["scopes"].items().iter().all(|s| self.scopes.has(s.str(), "Exists", &[]));
        let mut expressions = spec["scopeSelector"]["matchExpressions"].items().iter();
        plain && expressions.all(|e| self.scopes.has(e["scopeName"].str(), e["operator"].str(), e["values"].items()))
    }
}

impl Scopes {
    fn has(&self, scope: &str, operator: &str, values: &[Value]) -> bool {
        match self {
            Scopes::None => false,
            Scopes::Pod { terminating, best_effort, cross_namespace, priority_class } => match scope {
                "Terminating" => *terminating,
                "NotTerminating" => !*terminating,
                "BestEffort" => *best_effort,
                "NotBestEffort" => !*best_effort,
                "CrossNamespacePodAffinity" => *cross_namespace,
                "PriorityClass" => selects(operator, values, Some(priority_class.as_str()).filter(|c| !c.is_empty())),
                _ => false,
            },
            Scopes::VolumeClaim(classes) if scope == "VolumeAttributesClass" => match classes.as_slice() {
                [] => selects(operator, values, None),
                some => some.iter().any(|class| selects(operator, values, Some(class))),
            },
            Scopes::VolumeClaim(_) => false,
        }
    }
}

/// A scope selector's operator, as one of a label selector.
fn selects(operator: &str, values: &[Value], name: Option<&str>) -> bool {
    let listed = |name: &str| values.iter().any(|v| v.str() == name);
    match operator {
        "Exists" => name.is_some(),
        "DoesNotExist" => name.is_none(),
        "In" => name.is_some_and(listed),
        "NotIn" => !name.is_some_and(listed),
        _ => false,
    }
}

impl DeviceClasses {
    pub fn of(classes: impl IntoIterator<Item = Value>) -> Self {
        let resource = |class: &Value| class["spec"]["extendedResourceName"].as_str().map(str::to_owned);
        let pair = |class: Value| Some((class["metadata"]["name"].str().to_owned(), resource(&class)?));
        DeviceClasses(classes.into_iter().filter_map(pair).collect())
    }
}

fn service(spec: &Value) -> Amounts {
    let number = |n: usize| Quantity::new(i64::try_from(n).unwrap_or(i64::MAX), Format::DecimalSi);
    let ports = spec["ports"].items();
    let (nodes, balancers) = match spec["type"].str() {
        "NodePort" => (ports.len(), 0),
        "LoadBalancer" if spec["allocateLoadBalancerNodePorts"].as_bool() == Some(false) => {
            (ports.iter().filter(|p| p["nodePort"].as_i64().unwrap_or(0) != 0).count(), 1)
        }
        "LoadBalancer" => (ports.len(), 1),
        _ => (0, 0),
    };
    Amounts::from([
        ("services".into(), number(1)),
        ("services.nodeports".into(), number(nodes)),
        ("services.loadbalancers".into(), number(balancers)),
    ])
}

/// The amounts of a `ResourceList` as it stands in an object; what cannot be read is left out.
pub fn amounts(list: &Value) -> Amounts {
    let read = |(name, amount): (&str, &Value)| {
        let amount = match amount {
            Value::Int(n) => Quantity::new(*n, Format::DecimalSi),
            other => Quantity::parse(other.str()).ok()?,
        };
        Some((Cow::Owned(name.to_owned()), amount))
    };
    list.members().filter_map(read).collect()
}

/// The other way.
pub fn to_value(amounts: &Amounts) -> Value {
    Value::of(amounts.iter().map(|(name, amount)| (name.to_string(), amount.to_string())))
}

/// Adds each amount; the sum of two formats is in the first one's unless that is zero.
pub fn add(total: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        match total.get_mut(name) {
            Some(sum) => *sum = sum.add(amount),
            None => drop(total.insert(name.clone(), amount.clone())),
        }
    }
}
