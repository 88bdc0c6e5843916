//! Label and field selectors: printed and read again they are the same, and select the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meta::{fields, labels};

fuzz_target!(|data: &str| {
    let (text, pairs) = data.split_once('\n').unwrap_or((data, ""));
    let pairs: Vec<(&str, &str)> = pairs.lines().filter_map(|l| l.split_once('=')).collect();
    if let Ok(selector) = labels::Selector::parse(text) {
        let printed = selector.to_string();
        let again = labels::Selector::parse(&printed).unwrap_or_else(|e| panic!("{e}: {printed:?} of {text:?}"));
        assert_eq!(again, selector, "{printed:?} of {text:?}");
        let mut seen = std::collections::BTreeMap::new();
        pairs.iter().for_each(|(k, v)| {
            seen.insert(*k, *v);
        });
        let labels: labels::Labels = seen.into_iter().collect();
        let all = selector.requirements.iter().all(|r| r.matches(&labels));
        assert_eq!(selector.matches(&labels), all);
        assert_eq!(again.matches(&labels), all);
    }
    if let Ok(selector) = fields::Selector::parse(text) {
        let printed = selector.to_string();
        let again = fields::Selector::parse(&printed).unwrap_or_else(|e| panic!("{e}: {printed:?} of {text:?}"));
        assert_eq!(again, selector, "{printed:?} of {text:?}");
        let value = |field: &str| pairs.iter().find(|(k, _)| *k == field).map_or("", |(_, v)| *v);
        assert_eq!(again.matches(value), selector.matches(value));
        for r in selector.requirements.iter().filter(|r| r.equals) {
            assert!(selector.requires(&r.field).is_some());
        }
    }
});
