//! Files of a volume that hide each other, and ports that are the same or may be: every pair is told, in upstream's
//! order, until there is more than an answer carries. Not here: which files and ports a pod has (`pod`).

use std::collections::{BTreeMap, HashMap};
use std::iter::successors;

use document::Value;
use meta::goquote::quote;

/// Characters of warnings that an answer carries are 4096, or 256 of each: with this many told, the rest is never seen.
const MOST: usize = 2 * 4096;
const MOST_OF_EACH: usize = 256;

/// What may still be told.
pub(super) struct Budget(usize);

impl Budget {
    pub(super) fn new() -> Self {
        Budget(MOST)
    }

    /// False when there was enough.
    fn tell(&mut self, text: impl FnOnce() -> String, found: &mut Vec<String>) -> bool {
        if self.0 > 0 {
            let text = text();
            self.0 = self.0.saturating_sub(text.chars().take(MOST_OF_EACH).count());
            found.push(text);
        }
        self.0 > 0
    }
}

/// A file of a volume and where it comes from, as `(path, source)`.
pub(super) type File = (String, String);

/// Tells each pair of files once of which one is, or is in, the other.
pub(super) fn files(files: Vec<File>, volume: &str, what: &str, budget: &mut Budget, found: &mut Vec<String>) {
    let closed = |(path, source): File| (format!("{}/", path.trim_end_matches('/')), source);
    let files: Vec<File> = files.into_iter().map(closed).filter(|(path, _)| path != "/").collect();
    let nested = Nested::new(&files);
    // the files that stand before this one, and when each was seen first
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    // how many had been seen when a file was compared with all of them
    let mut compared = vec![0; nested.sorted.len()];
    for file in &files {
        let Ok(rank) = nested.sorted.binary_search(&file) else { continue };
        for other in nested.colliding(rank, compared[rank], &seen) {
            let text = || format!("volume {volume} ({what}): overlapping paths: {} with {}", shown(file), shown(other));
            if !budget.tell(text, found) {
                return;
            }
        }
        compared[rank] = seen.len();
        let next = seen.len();
        seen.entry(rank).or_insert(next);
    }
}

fn shown((path, source): &File) -> String {
    let path = quote(path.strip_suffix('/').unwrap_or(path));
    if source.is_empty() { path } else { format!("{path} ({source})") }
}

/// Different files in the order of their paths: what is in one follows it.
struct Nested<'a> {
    sorted: Vec<&'a File>,
    /// The nearest that a file is in, or equals.
    outer: Vec<Option<usize>>,
    /// Where what is in a file ends.
    end: Vec<usize>,
}

impl<'a> Nested<'a> {
    fn new(files: &'a [File]) -> Self {
        let mut sorted: Vec<&File> = files.iter().collect();
        sorted.sort_unstable();
        sorted.dedup();
        let (mut outer, mut end) = (Vec::with_capacity(sorted.len()), vec![sorted.len(); sorted.len()]);
        let mut open: Vec<usize> = Vec::new();
        for (n, file) in sorted.iter().enumerate() {
            while let Some(top) = open.pop_if(|top| !file.0.starts_with(&sorted[*top].0)) {
                end[top] = n;
            }
            outer.push(open.last().copied());
            open.push(n);
        }
        Nested { sorted, outer, end }
    }

    /// What collides with a file and was seen, `from` in that order, in that order.
    fn colliding(&self, rank: usize, from: usize, seen: &BTreeMap<usize, usize>) -> Vec<&'a File> {
        if from == seen.len() {
            return Vec::new();
        }
        let around = successors(self.outer[rank], |n| self.outer[*n]);
        let around = around.filter_map(|n| Some((*seen.get(&n)?, n)));
        let inside = seen.range(rank..self.end[rank]).map(|(n, when)| (*when, *n));
        let mut all: Vec<_> = around.chain(inside).filter(|(when, _)| *when >= from).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, n)| self.sorted[n]).collect()
    }
}

/// Ports with one number and protocol, by their places.
#[derive(Default)]
struct Same<'a> {
    all: Vec<usize>,
    by_host_port: HashMap<i64, Vec<usize>>,
    by_address: HashMap<(i64, &'a str), Vec<usize>>,
}

impl<'a> Same<'a> {
    fn add(&mut self, n: usize, host_port: i64, ip: &'a str) {
        self.all.push(n);
        self.by_host_port.entry(host_port).or_default().push(n);
        self.by_address.entry((host_port, ip)).or_default().push(n);
    }

    /// Those that are alike, in their order: all when there is no port of the host, else those without one, and those
    /// with the same one and the same address or none.
    fn alike(&self, host_port: i64, ip: &'a str) -> Vec<usize> {
        if host_port == 0 {
            return self.all.clone();
        }
        let of_port = |port| self.by_host_port.get(&port).into_iter().flatten();
        let at = |ip| self.by_address.get(&(host_port, ip)).into_iter().flatten();
        let mut all: Vec<usize> = match ip {
            "" => of_port(0).chain(of_port(host_port)).copied().collect(),
            _ => of_port(0).chain(at(ip)).chain(at("")).copied().collect(),
        };
        all.sort_unstable();
        all
    }
}

/// Ports, with their paths, that are the same or may be, and addresses that nothing listens on.
pub(super) fn ports(all: &[(&Value, String)], found: &mut Vec<String>) {
    let mut budget = Budget::new();
    let mut seen: HashMap<(Option<i64>, &str), Same<'_>> = HashMap::new();
    for (n, (port, path)) in all.iter().enumerate() {
        let (number, protocol) = (port["containerPort"].as_i64(), port["protocol"].str());
        let (ip, host_port) = address(port);
        if !ip.is_empty() && host_port == 0 {
            found.push(format!(
                "{path}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{} Protocol:{protocol} HostIP:{ip}}}",
                port["name"].str(),
                number.unwrap_or_default(),
            ));
        }
        if budget.0 == 0 {
            continue;
        }
        let same = seen.entry((number, protocol)).or_default();
        for (other, place) in same.alike(host_port, ip).into_iter().map(|n| &all[n]) {
            let text = || format!("{path}: {} port definition with {place}", likeness((ip, host_port), address(other)));
            if !budget.tell(text, found) {
                break;
            }
        }
        same.add(n, host_port, ip);
    }
}

fn address(port: &Value) -> (&str, i64) {
    (port["hostIP"].str(), port["hostPort"].as_i64().unwrap_or_default())
}

fn likeness(one: (&str, i64), other: (&str, i64)) -> &'static str {
    if one == other {
        "duplicate"
    } else if one.1 == 0 || other.1 == 0 {
        "overlapping"
    } else {
        "dangerously ambiguous"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    fn check(paths: &[&str], wanted: &[(&str, &str)]) {
        let list = paths.iter().map(|p| ((*p).to_owned(), String::new())).collect();
        let mut found = Vec::new();
        files(list, "v", "w", &mut Budget::new(), &mut found);
        let text = |(a, b): &(&str, &str)| format!("volume v (w): overlapping paths: {a:?} with {b:?}");
        assert_eq!(found, wanted.iter().map(text).collect::<Vec<_>>(), "{paths:?}");
    }

    #[test]
    fn each_pair_of_files_is_told_once_in_the_order_of_the_files() {
        check(&["a", "b", "ab", "a-/x"], &[]);
        check(&["", "/", "a/"], &[]);
        check(&["a/b/c", "a/b", "a"], &[("a/b", "a/b/c"), ("a", "a/b/c"), ("a", "a/b")]);
        check(&["a", "a/b", "a/c", "a/b/c"], &[("a/b", "a"), ("a/c", "a"), ("a/b/c", "a"), ("a/b/c", "a/b")]);
        check(&["a", "a/", "a"], &[("a", "a")]);
        check(&["a", "a/b", "a", "a/b"], &[("a/b", "a"), ("a", "a"), ("a", "a/b"), ("a/b", "a/b")]);
    }

    #[test]
    fn thousands_of_equal_files_are_told_once_and_of_different_ones_what_an_answer_carries() {
        check(&vec!["a"; 50_000], &[("a", "a")]);
        let list: Vec<File> =
            (0..50_000).map(|n| (["a", &format!("a/{n}")][n % 2].to_owned(), String::new())).collect();
        let mut found = Vec::new();
        files(list, "v", "w", &mut Budget::new(), &mut found);
        assert!((100..300).contains(&found.len()), "{}", found.len());
    }

    fn told(list: &[Value]) -> Vec<String> {
        let all: Vec<_> = list.iter().enumerate().map(|(n, port)| (port, n.to_string())).collect();
        let mut found = Vec::new();
        ports(&all, &mut found);
        found
    }

    #[test]
    fn ports_are_alike_by_what_they_take_of_the_host() {
        let port = |host_port: i64, ip: &str| doc!({"containerPort": 80, "protocol": "TCP", "hostPort": host_port, "hostIP": ip});
        let list = [
            port(0, ""),
            port(1, "1.1.1.1"),
            port(1, ""),
            port(1, "1.1.1.2"),
            port(2, ""),
            port(1, "1.1.1.1"),
            doc!({"containerPort": 80, "protocol": "UDP"}),
            doc!({"containerPort": 80, "protocol": "TCP"}),
        ];
        assert_eq!(
            told(&list),
            [
                "1: overlapping port definition with 0",
                "2: overlapping port definition with 0",
                "2: dangerously ambiguous port definition with 1",
                "3: overlapping port definition with 0",
                "3: dangerously ambiguous port definition with 2",
                "4: overlapping port definition with 0",
                "5: overlapping port definition with 0",
                "5: duplicate port definition with 1",
                "5: dangerously ambiguous port definition with 2",
                "7: duplicate port definition with 0",
                "7: overlapping port definition with 1",
                "7: overlapping port definition with 2",
                "7: overlapping port definition with 3",
                "7: overlapping port definition with 4",
                "7: overlapping port definition with 5",
            ]
        );
    }

    #[test]
    fn thousands_of_equal_ports_are_told_as_far_as_an_answer_carries() {
        let found = told(&vec![doc!({"containerPort": 80, "protocol": "TCP"}); 5000]);
        assert!((100..300).contains(&found.len()), "{}", found.len());
    }
}
