//! Which of the nodes that fit: the one with most room left (least requested), preferred ones first.

use crate::fit::Candidate;
use crate::pod::Wanted;

/// More is better. Upstream's weights: affinity 2, least allocated 1, taints 3; each from 0 to 100.
pub(crate) fn score(wanted: &Wanted, candidate: &Candidate<'_>) -> i64 {
    room(wanted, candidate) + 2 * preference(wanted, candidate) + 3 * welcome(wanted, candidate)
}

/// The share of CPU and memory that stays free.
fn room(wanted: &Wanted, candidate: &Candidate<'_>) -> i64 {
    let free = |name: &str, default: i64| {
        let all = candidate.node.allocatable.get(name);
        // upstream's stand-ins for pods that request nothing
        let wants = wanted.held.requests.get(name).max(default);
        let left = all - candidate.taken.get(name) - wants;
        if all <= 0 { 0 } else { (left.max(0) as i128 * 100 / all as i128) as i64 }
    };
    (free("cpu", 100) + free("memory", 200 << 20)) / 2
}

fn preference(wanted: &Wanted, candidate: &Candidate<'_>) -> i64 {
    let total: i64 = wanted.preferred.iter().map(|(weight, _)| weight).sum();
    let met: i64 =
        wanted.preferred.iter().filter(|(_, term)| term.matches(candidate.node)).map(|(weight, _)| weight).sum();
    if total > 0 { met * 100 / total } else { 0 }
}

/// Taints that only prefer others to stay away.
fn welcome(wanted: &Wanted, candidate: &Candidate<'_>) -> i64 {
    let unwelcome = candidate.node.taints.iter().filter(|t| t.effect == "PreferNoSchedule");
    let count = unwelcome.filter(|t| !wanted.tolerations.iter().any(|o| o.tolerates(t))).count();
    100 / (1 + count as i64)
}
