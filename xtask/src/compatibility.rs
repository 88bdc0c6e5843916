//! Whether docs/compatibility.md lists what the code refuses. The code keeps each refusal as a row of a table; the rows'
//! names must be on the page.

use crate::sh;
use anyhow::{Context, Result, bail};

/// A file with refusals, and which quoted text of a row names what is refused, counted from the end.
const SOURCES: &[(&str, usize)] =
    &[("crates/node/src/lifecycle/refuse.rs", 0), ("crates/admission/src/plugins/unenforced.rs", 1)];

/// Fails with every name that the page lacks.
pub(crate) fn run() -> Result<()> {
    let page = std::fs::read_to_string(sh::root().join("docs/compatibility.md")).context("failed to read the page")?;
    let mut missing = Vec::new();
    for (file, from_end) in SOURCES {
        let text = std::fs::read_to_string(sh::root().join(file)).with_context(|| format!("failed to read {file}"))?;
        let names = rows(&text, *from_end);
        if names.len() < 5 {
            bail!("{file}: its refusals are no longer rows that this check can read");
        }
        missing.extend(names.into_iter().filter(|name| !page.contains(name.as_str())).map(|n| format!("{n} ({file})")));
    }
    if !missing.is_empty() {
        bail!("docs/compatibility.md does not list what is refused:\n  {}", missing.join("\n  "));
    }
    println!("compatibility: the page lists what the node and admission refuse");
    Ok(())
}

/// Rows that the formatter spread over lines are one line again, all without indentation.
fn joined(code: &str) -> String {
    let mut out = String::new();
    let mut open = false;
    for line in code.lines().map(str::trim) {
        open |= line == "(";
        let closes = open && line == "),";
        if closes {
            out.truncate(out.trim_end_matches([',', ' ']).len());
        }
        out.push_str(line);
        out.push(if open && !closes && line != "(" {
            ' '
        } else if open && !closes {
            '\0'
        } else {
            '\n'
        });
        open &= !closes;
    }
    out.replace('\0', "")
}

/// The names in lines such as `(condition, "name"),`, before the file's tests.
fn rows(text: &str, from_end: usize) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let row = |line: &&str| line.starts_with('(') && line.ends_with("\"),");
    let name = |line: &str| {
        let quoted: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        quoted.iter().rev().nth(from_end).map(|&n| n.to_owned())
    };
    joined(code).lines().filter(row).filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_up_to_the_tests() {
        let text = "let asked = [\n  (c.probe.is_some(), \"probe\"),\n  (x == Some(\"Always\"), \"sidecar\"),\n];\n#[cfg(test)]\n(a, \"b\"),";
        assert_eq!(rows(text, 0), ["probe", "sidecar"]);
        let table = "const T: [(&str, &str); 1] = [\n    (\"\", \"limitranges\", \"not enforced\"),\n    (ADMISSION, \"policies\", \"no\"),\n];";
        assert_eq!(rows(table, 1), ["limitranges", "policies"]);
    }
}
