//! Counters of requests by verb, resource, scope and code. A series is found by its labels without a lock and without
//! making a string; every shard has its own table, which only grows and is bounded.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use meta::metrics::{Bins, Counter, Distribution, SHARDS, nanos, shard};

use super::text::{Family, Label, Page};

/// Series per shard.
const SERIES: usize = 8192;
/// Places at which a series is looked for: a table that clients filled is not searched through at every request. What
/// finds no place there is counted as lost.
const PROBES: usize = 32;
/// Codes of one series; the last place takes whatever does not fit.
const CODES: usize = 12;

const MS: u64 = 1_000_000;
const LATENCY: [u64; 23] = [
    5 * MS,
    25 * MS,
    50 * MS,
    100 * MS,
    200 * MS,
    400 * MS,
    600 * MS,
    800 * MS,
    1000 * MS,
    1250 * MS,
    1500 * MS,
    2000 * MS,
    3000 * MS,
    4000 * MS,
    5000 * MS,
    6000 * MS,
    8000 * MS,
    10_000 * MS,
    15_000 * MS,
    20_000 * MS,
    30_000 * MS,
    45_000 * MS,
    60_000 * MS,
];
/// The first bounds that `request_sli_duration_seconds` does not have.
const NOT_IN_SLI: usize = 2;
const SIZES: [u64; 7] = [1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// What a request is counted under. Everything but the verb's kind comes from the tables of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Labels<'a> {
    pub verb: &'static str,
    pub dry_run: &'static str,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub scope: &'static str,
    pub component: &'static str,
}

impl Labels<'_> {
    fn hash(&self) -> usize {
        let mut hasher = Fx(0);
        let texts = [self.verb, self.resource, self.group, self.version, self.subresource, self.scope, self.dry_run];
        texts.iter().for_each(|text| hasher.write(text.as_bytes()));
        (hasher.finish() >> 32) as usize
    }
}

/// Multiplies and turns: enough to spread labels that nobody chooses.
struct Fx(u64);

impl std::hash::Hasher for Fx {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
        self.0 = self.0.rotate_left(5).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Labels that are kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owned {
    verb: &'static str,
    dry_run: &'static str,
    scope: &'static str,
    component: &'static str,
    /// Group, version, resource, subresource.
    names: [Box<str>; 4],
}

impl Owned {
    pub(super) fn of(labels: &Labels<'_>) -> Self {
        let names = [labels.group, labels.version, labels.resource, labels.subresource].map(Box::from);
        Owned { verb: labels.verb, dry_run: labels.dry_run, scope: labels.scope, component: labels.component, names }
    }

    pub(super) fn labels(&self) -> Labels<'_> {
        let [group, version, resource, subresource] = self.names.each_ref().map(|n| &**n);
        let Owned { verb, dry_run, scope, component, .. } = *self;
        Labels { verb, dry_run, group, version, resource, subresource, scope, component }
    }
}

/// All that is counted under one set of labels, by the threads of one shard.
struct Series {
    labels: Owned,
    codes: [(AtomicU16, AtomicU64); CODES],
    latency: Bins<24>,
    sizes: Bins<8>,
}

impl Series {
    fn new(labels: &Labels<'_>) -> Self {
        Series {
            labels: Owned::of(labels),
            codes: Default::default(),
            latency: Bins::default(),
            sizes: Bins::default(),
        }
    }

    fn count(&self, code: u16) {
        for (n, (own, count)) in self.codes.iter().enumerate() {
            let is = own.load(Relaxed);
            let mine = is == code
                || (is == 0
                    && own.compare_exchange(0, code, Relaxed, Relaxed).map_or_else(|now| now == code, |_| true));
            if mine || n == CODES - 1 {
                count.fetch_add(1, Relaxed);
                return;
            }
        }
    }
}

type Table = Box<[OnceLock<Box<Series>>]>;

/// All series.
#[derive(Default)]
pub(crate) struct Requests {
    tables: [OnceLock<Table>; SHARDS],
    lost: Counter,
}

/// One finished request.
pub(crate) struct Finished<'a> {
    pub labels: Labels<'a>,
    pub code: u16,
    pub took: Duration,
    /// Bytes of the answer, for reads.
    pub size: Option<u64>,
}

impl Requests {
    pub(crate) fn record(&self, done: &Finished<'_>) {
        let Some(series) = self.series(&done.labels) else { return };
        series.count(done.code);
        series.latency.observe(&LATENCY, nanos(done.took));
        if let Some(size) = done.size {
            series.sizes.observe(&SIZES, size);
        }
    }

    /// Counts an answer that was given before the request was worked on.
    pub(crate) fn record_refused(&self, labels: &Labels<'_>, code: u16) {
        if let Some(series) = self.series(labels) {
            series.count(code);
        }
    }

    /// The place of these labels, or the next free one; `None` when all that are near are taken.
    fn series(&self, labels: &Labels<'_>) -> Option<&Series> {
        let table = self.tables[shard()].get_or_init(|| (0..SERIES).map(|_| OnceLock::new()).collect());
        let start = labels.hash();
        for n in 0..PROBES {
            let place = &table[(start + n) % SERIES];
            let series = match place.get() {
                Some(series) => series,
                None => place.get_or_init(|| Box::new(Series::new(labels))),
            };
            if series.labels.labels() == *labels {
                return Some(series);
            }
        }
        self.lost.inc();
        None
    }

    pub(super) fn reset(&self) {
        for series in self.all() {
            series.codes.iter().for_each(|(_, count)| count.store(0, Relaxed));
            series.latency.reset();
            series.sizes.reset();
        }
        self.lost.reset();
    }

    /// How often a request was not counted for want of a place.
    pub(super) fn lost(&self) -> u64 {
        self.lost.get()
    }

    fn all(&self) -> impl Iterator<Item = &Series> {
        let tables = self.tables.iter().filter_map(OnceLock::get);
        tables.flat_map(|table| table.iter().filter_map(|place| place.get().map(|s| &**s)))
    }

    pub(super) fn add(&self, page: &mut Page) {
        let sums = self.sums();
        let mut total = Family::counter(
            "apiserver_request_total",
            "[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
        );
        let mut duration = Family::histogram(
            "apiserver_request_duration_seconds",
            "[STABLE] Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.",
        );
        let mut sli = Family::histogram(
            "apiserver_request_sli_duration_seconds",
            "[ALPHA] Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in seconds for each verb, group, version, resource, subresource, scope and component.",
        );
        let mut sizes = Family::histogram(
            "apiserver_response_sizes",
            "[STABLE] Response size distribution in bytes for each group, version, verb, resource, subresource, scope and component.",
        );
        let latency = LATENCY.map(|ns| ns as f64 / 1e9);
        for (labels, sum) in &sums {
            let labels = labels.labels();
            for (code, count) in &sum.codes {
                let code = code.to_string();
                let mut all = vec![("code", code.as_str())];
                all.extend(with_dry_run(&labels));
                total.sample(&all, *count as f64);
            }
            if sum.latency.count() > 0 {
                duration.distribution(&with_dry_run(&labels), &latency, &sum.latency, 1e9);
                if labels.dry_run.is_empty() {
                    // no time is spent in webhooks or queues: both are the same but for their bounds
                    let bins = &sum.latency.bins;
                    let mut merged = bins[NOT_IN_SLI..].to_vec();
                    merged[0] += bins[..NOT_IN_SLI].iter().sum::<u64>();
                    let merged = Distribution { bins: merged, sum: sum.latency.sum };
                    sli.distribution(&without_dry_run(&labels), &latency[NOT_IN_SLI..], &merged, 1e9);
                }
            }
        }
        for (labels, all) in read_sizes(&sums) {
            sizes.distribution(&without_dry_run(&labels.labels()), &SIZES.map(|s| s as f64), &all, 1.0);
        }
        [total, duration, sli, sizes].into_iter().for_each(|family| page.add(family));
    }

    fn sums(&self) -> BTreeMap<Owned, Sum> {
        let mut sums: BTreeMap<Owned, Sum> = BTreeMap::new();
        for series in self.all() {
            let sum = sums.entry(series.labels.clone()).or_default();
            for (code, count) in &series.codes {
                let count = count.load(Relaxed);
                if count > 0 {
                    *sum.codes.entry(code.load(Relaxed)).or_default() += count;
                }
            }
            series.latency.read(&mut sum.latency);
            series.sizes.read(&mut sum.sizes);
        }
        sums
    }
}

/// A series over all shards.
#[derive(Default)]
struct Sum {
    codes: BTreeMap<u16, u64>,
    latency: Distribution,
    sizes: Distribution,
}

/// Sizes have no label for dry runs.
fn read_sizes(sums: &BTreeMap<Owned, Sum>) -> BTreeMap<Owned, Distribution> {
    let mut sizes: BTreeMap<Owned, Distribution> = BTreeMap::new();
    for (labels, sum) in sums.iter().filter(|(_, sum)| sum.sizes.count() > 0) {
        sizes.entry(Owned { dry_run: "", ..labels.clone() }).or_default().add(&sum.sizes);
    }
    sizes
}

fn with_dry_run<'a>(labels: &Labels<'a>) -> Vec<Label<'a>> {
    let mut all = without_dry_run(labels);
    all.insert(1, ("dry_run", labels.dry_run));
    all
}

pub(super) fn without_dry_run<'a>(labels: &Labels<'a>) -> Vec<Label<'a>> {
    vec![
        ("component", labels.component),
        ("group", labels.group),
        ("resource", labels.resource),
        ("scope", labels.scope),
        ("subresource", labels.subresource),
        ("verb", labels.verb),
        ("version", labels.version),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Labels<'static> = Labels {
        verb: "GET",
        dry_run: "",
        group: "",
        version: "v1",
        resource: "pods",
        subresource: "",
        scope: "resource",
        component: "apiserver",
    };

    fn text(requests: &Requests) -> String {
        let mut page = Page::default();
        requests.add(&mut page);
        page.text()
    }

    #[test]
    fn threads_count_into_one_series() {
        let requests = Requests::default();
        std::thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| {
                    let took = Duration::from_millis(30);
                    requests.record(&Finished { labels: GET, code: 200, took, size: Some(1001) });
                    requests.record(&Finished { labels: GET, code: 404, took, size: Some(10) });
                });
            }
        });
        let text = text(&requests);
        let labels = r#"component="apiserver",dry_run="",group="",resource="pods",scope="resource",subresource="",verb="GET",version="v1""#;
        let plain = labels.replace("dry_run=\"\",", "");
        for line in [
            format!("apiserver_request_total{{code=\"200\",{labels}}} 10"),
            format!("apiserver_request_total{{code=\"404\",{labels}}} 10"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"0.025\"}} 0"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"0.05\"}} 20"),
            format!("apiserver_request_sli_duration_seconds_bucket{{{plain},le=\"0.05\"}} 20"),
            format!("apiserver_request_sli_duration_seconds_sum{{{plain}}} 0.6"),
            format!("apiserver_response_sizes_bucket{{{plain},le=\"1000\"}} 10"),
            format!("apiserver_response_sizes_bucket{{{plain},le=\"1e+06\"}} 20"),
            format!("apiserver_response_sizes_sum{{{plain}}} 10110"),
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        requests.reset();
        assert_eq!(self::text(&requests), "");
    }

    #[test]
    fn more_series_than_there_is_room_for_are_counted_as_lost() {
        let requests = Requests::default();
        let fill = |to: usize| {
            for n in 0..to {
                let resource = format!("r{n}");
                requests.record_refused(&Labels { resource: &resource, ..GET }, 429);
            }
        };
        fill(SERIES / 4);
        assert_eq!(requests.lost(), 0);
        requests.reset();
        fill(SERIES + 10);
        let counted: u64 = requests.sums().values().flat_map(|s| s.codes.values()).sum();
        assert!(requests.lost() >= 10);
        assert_eq!(counted + requests.lost(), SERIES as u64 + 10);
    }

    #[test]
    fn more_codes_than_there_is_room_for_are_counted_together() {
        let requests = Requests::default();
        (400..450).for_each(|code| requests.record_refused(&GET, code));
        let counted: u64 = requests.sums().values().flat_map(|s| s.codes.values()).sum();
        assert_eq!(counted, 50);
    }
}
