//! Cron schedules as robfig's parser reads them (five fields or a descriptor), with its error texts; and which time
//! zones the machine knows.

/// Name, lowest and highest number, and names for numbers.
type Bounds = (u32, u32, &'static [&'static str]);

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Bounds; 5] = [(0, 59, &[]), (0, 23, &[]), (1, 31, &[]), (1, 12, &MONTHS), (0, 6, &DAYS)];
const DESCRIPTORS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// # Errors
/// robfig's sentence.
pub(super) fn parse(schedule: &str) -> Result<(), String> {
    let mut spec = schedule;
    if spec.starts_with("TZ=") || spec.starts_with("CRON_TZ=") {
        let (zone, rest) = spec.split_once(' ').ok_or("parser panicked")?;
        let zone = zone.split_once('=').map_or("", |(_, z)| z);
        if !is_time_zone(zone) {
            return Err(format!("provided bad location {zone}: unknown time zone {zone}"));
        }
        spec = rest.trim();
    }
    if spec.starts_with('@') {
        return descriptor(spec);
    }
    let fields: Vec<&str> = spec.split_whitespace().collect();
    if fields.len() != 5 {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    fields
        .iter()
        .zip(FIELDS)
        .try_for_each(|(field, bounds)| field.split(',').filter(|p| !p.is_empty()).try_for_each(|p| range(p, bounds)))
}

fn descriptor(spec: &str) -> Result<(), String> {
    if DESCRIPTORS.contains(&spec) || spec.strip_prefix("@every ").is_some_and(|d| !d.is_empty()) {
        return Ok(());
    }
    Err(format!("unrecognized descriptor: {spec}"))
}

/// `number | number "-" number [ "/" number ]`, `*` or `?`.
fn range(text: &str, bounds: Bounds) -> Result<(), String> {
    let (low, high, _) = bounds;
    let parts: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let single = ends.len() == 1;
    let (start, mut end) = if matches!(ends[0], "*" | "?") {
        (low, high)
    } else {
        let start = number_or_name(ends[0], bounds)?;
        match ends.as_slice() {
            [_] => (start, start),
            [_, last] => (start, number_or_name(last, bounds)?),
            _ => return Err(format!("too many hyphens: {text}")),
        }
    };
    match parts.as_slice() {
        [_] => {}
        [_, step] => {
            let step = number(step)?;
            if single {
                end = high;
            }
            if step == 0 {
                return Err(format!("step of range should be a positive number: {text}"));
            }
        }
        _ => return Err(format!("too many slashes: {text}")),
    }
    if start < low {
        return Err(format!("beginning of range ({start}) below minimum ({low}): {text}"));
    }
    if end > high {
        return Err(format!("end of range ({end}) above maximum ({high}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    Ok(())
}

fn number_or_name(text: &str, (low, _, named): Bounds) -> Result<u32, String> {
    let lower = text.to_lowercase();
    match named.iter().position(|n| *n == lower) {
        Some(n) => Ok(u32::try_from(n).unwrap_or_default() + low),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, String> {
    match text.parse::<i64>() {
        Ok(n) if n < 0 => Err(format!("negative number ({n}) not allowed: {text}")),
        Ok(n) => u32::try_from(n).map_err(|_| format!("failed to parse int from {text}: out of range")),
        Err(_) => Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")),
    }
}

/// Asks the machine's time zone database; without one every name is taken.
pub(super) fn is_time_zone(name: &str) -> bool {
    let base = std::path::Path::new("/usr/share/zoneinfo");
    let plain = name.split('/').all(|p| !p.is_empty() && !p.starts_with('.'));
    plain && (name == "UTC" || !base.exists() || base.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_as_robfig_reads_them() {
        for good in ["* * * * *", "*/5 0-6 1,15 jan-mar mon", "@hourly", "@every 1h", "0 0 ? * 6"] {
            assert_eq!(parse(good), Ok(()), "{good}");
        }
        let check = |text: &str, why: &str| assert_eq!(parse(text), Err(why.to_owned()));
        check("x", "expected exactly 5 fields, found 1: [x]");
        check("60 * * * *", "end of range (60) above maximum (59): 60");
        check("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1");
        check("*/0 * * * *", "step of range should be a positive number: */0");
        check("@never", "unrecognized descriptor: @never");
        check("a * * * *", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax");
    }
}
