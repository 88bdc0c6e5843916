//! `cargo xtask fidelity`: plays upstream's recorded cases against `lanyard server` and holds the number of equal answers
//! to `fidelity.floor`, which only rises.
//!
//! The cases and their player lie beside the clone (`../shared/fidelity`); without them there is nothing to compare.

use crate::serve::{self, Server};
use crate::{kubectl, sh};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

const USAGE: &str =
    "usage: cargo xtask fidelity [AREA|CASE]... [-v] [--raise] [--release] [--target FILE] [--skip TEXT]";

/// Equal steps and all steps, by area.
type Counts = BTreeMap<String, (usize, usize)>;

#[derive(Default)]
struct Options {
    only: Vec<String>,
    verbose: bool,
    raise: bool,
    release: bool,
    target: Option<PathBuf>,
    skip: Vec<String>,
}

/// Plays, prints equal steps by area, compares with the floor.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let options = Options::parse(args)?;
    let Some(player) = sh::shared("fidelity") else {
        println!("fidelity: skipped, since ../shared/fidelity is not there");
        return Ok(());
    };
    let python = python()?;
    let paths = options.paths(&player)?;
    let (server, target) = match &options.target {
        Some(target) => (None, target.clone()),
        None => start(options.release).map(|(server, target)| (Some(server), target))?,
    };
    let play = |paths: &[PathBuf]| play(&python, &player, &target, paths, &options);
    let mut steps = play(&paths)?;
    let floor_path = sh::root().join("fidelity.floor");
    let floor = read_floor(&floor_path)?;
    let whole = options.only.is_empty() && options.skip.is_empty();
    if whole && !options.raise {
        again_where_short(&mut steps, &floor, &player, &play)?;
    }
    if server.is_some_and(|mut s| !s.lives()) {
        bail!("lanyard server ended while the cases were played");
    }
    let counts = count(&steps);
    report(&counts, &floor);
    if !whole {
        return Ok(());
    }
    if options.raise {
        return raise(&floor_path, floor, &counts);
    }
    hold(&floor, &counts)
}

impl Options {
    fn parse(args: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "-v" => options.verbose = true,
                "--raise" => options.raise = true,
                "--release" => options.release = true,
                "--target" => options.target = Some(args.next().context(USAGE)?.into()),
                "--skip" => options.skip.push(args.next().context(USAGE)?.clone()),
                flag if flag.starts_with('-') => bail!("{USAGE}"),
                only => options.only.push(only.to_owned()),
            }
        }
        Ok(options)
    }

    fn paths(&self, player: &Path) -> Result<Vec<PathBuf>> {
        let cases = player.join("cases");
        if self.only.is_empty() {
            return Ok(vec![cases]);
        }
        let found = |only: &String| {
            let named = [cases.join(only), cases.join(format!("{only}.yaml")), PathBuf::from(only)];
            named.into_iter().find(|p| p.exists()).with_context(|| format!("no area or case is called {only}"))
        };
        self.only.iter().map(found).collect()
    }
}

/// A python3 that has PyYAML: the system's, or a virtual environment in the cache.
fn python() -> Result<PathBuf> {
    if sh::works("python3", &["-c", "import yaml"]) {
        return Ok("python3".into());
    }
    let venv = sh::cache()?.join("python");
    let python = venv.join("bin/python3");
    let (at, program) = (venv.to_string_lossy().into_owned(), python.to_string_lossy().into_owned());
    if !sh::works(&program, &["-c", "import yaml"]) {
        sh::apt(&["python3", "python3-venv"], "the fidelity player")?;
        sh::run(&mut sh::cmd("python3", &["-m", "venv", &at]))?;
        sh::run(&mut sh::cmd(&program, &["-m", "pip", "install", "--quiet", "PyYAML"]))?;
    }
    Ok(python)
}

/// Builds and starts the server; the second is the target file, with our kubectl in it.
fn start(release: bool) -> Result<(Server, PathBuf)> {
    let binary = crate::up::build(release)?;
    let kubectl = kubectl::path()?;
    let (dir, port) = serve::prepare("fidelity")?;
    let target = dir.join("target.json");
    let mut spec: Value = serde_json::from_str(&std::fs::read_to_string(&target)?)?;
    spec["kubectl"] = kubectl.to_string_lossy().into_owned().into();
    std::fs::write(&target, spec.to_string())?;
    Ok((Server::start(&binary, dir, port)?, target))
}

/// (case, number of the step in it) → whether the answer was upstream's.
type Steps = BTreeMap<(String, usize), bool>;

fn play(python: &Path, player: &Path, target: &Path, paths: &[PathBuf], options: &Options) -> Result<Steps> {
    let json = std::env::temp_dir().join(format!("lanyard-fidelity-{}.json", std::process::id()));
    let mut command = Command::new(python);
    command.arg(player.join("fidelity")).args(["check", "--patience", "3", "--target"]).arg(target);
    command.arg("--json").arg(&json).args(options.skip.iter().flat_map(|s| ["--skip", s]));
    if options.verbose {
        command.arg("-v");
    }
    command.args(paths);
    // It ends with 1 when any answer differs; only a missing report is a failure of the run.
    if options.verbose {
        command.status().context("failed to start the fidelity player")?;
    } else {
        let out = command.output().context("failed to start the fidelity player")?;
        eprint!("{}", String::from_utf8_lossy(&out.stderr));
    }
    let report = std::fs::read_to_string(&json).context("the fidelity player wrote no report")?;
    let _ = std::fs::remove_file(&json);
    steps_of(&serde_json::from_str(&report)?)
}

fn steps_of(report: &Value) -> Result<Steps> {
    let mut steps = Steps::new();
    let mut number = BTreeMap::<String, usize>::new();
    for row in report.as_array().context("the fidelity player's report is no list")? {
        let case = row["case"].as_str().unwrap_or_default().to_owned();
        let at = number.entry(case.clone()).or_default();
        steps.insert((case, *at), row["same"] == true);
        *at += 1;
    }
    Ok(steps)
}

/// A case that waits can lose a step to a busy machine: areas below their floor are played once more, and a step counts
/// that was equal once.
fn again_where_short(
    steps: &mut Steps,
    floor: &Counts,
    player: &Path,
    play: &impl Fn(&[PathBuf]) -> Result<Steps>,
) -> Result<()> {
    let short = short(floor, &count(steps));
    if short.is_empty() {
        return Ok(());
    }
    println!("below the floor, played once more: {}", short.join(", "));
    let paths: Vec<PathBuf> = short.iter().map(|area| player.join("cases").join(area)).filter(|p| p.exists()).collect();
    for (step, same) in play(&paths)? {
        *steps.entry(step).or_default() |= same;
    }
    Ok(())
}

fn count(steps: &Steps) -> Counts {
    let mut counts = Counts::new();
    for ((case, _), same) in steps {
        let folder = Path::new(case).parent().and_then(Path::file_name);
        let area = folder.map(|f| f.to_string_lossy().into_owned()).unwrap_or_default();
        let entry = counts.entry(area).or_default();
        entry.0 += usize::from(*same);
        entry.1 += 1;
    }
    counts
}

fn report(counts: &Counts, floor: &Counts) {
    for (area, (equal, all)) in counts {
        let held = floor.get(area).map(|(f, _)| format!("   floor {f}")).unwrap_or_default();
        println!("{area:14} {equal:5} of {all:5}  {:5.1} %{held}", 100.0 * *equal as f64 / *all as f64);
    }
}

fn short(floor: &Counts, counts: &Counts) -> Vec<String> {
    let equal = |area: &str| counts.get(area).map_or(0, |(equal, _)| *equal);
    floor.iter().filter(|(area, (least, _))| equal(area) < *least).map(|(area, _)| area.clone()).collect()
}

fn hold(floor: &Counts, counts: &Counts) -> Result<()> {
    let short = short(floor, counts);
    if !short.is_empty() {
        bail!("fewer answers are upstream's than fidelity.floor says: {}", short.join(", "));
    }
    Ok(())
}

/// Lines `area equal all`; `#` starts a comment.
fn read_floor(path: &Path) -> Result<Counts> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut floor = Counts::new();
    for line in text.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [area, equal, all] = words[..] else { bail!("fidelity.floor: not `area equal all`: {line}") };
        floor.insert(area.to_owned(), (equal.parse()?, all.parse()?));
    }
    Ok(floor)
}

fn raise(path: &Path, mut floor: Counts, counts: &Counts) -> Result<()> {
    for (area, (equal, all)) in counts {
        let entry = floor.entry(area.clone()).or_default();
        *entry = (entry.0.max(*equal), *all);
    }
    let lines: String = floor.iter().map(|(area, (equal, all))| format!("{area} {equal} {all}\n")).collect();
    let head = "# Steps of ../shared/fidelity/cases whose answer is upstream's, and all steps: a floor that only rises.\n\
                # `cargo xtask fidelity --raise` writes it.\n";
    std::fs::write(path, format!("{head}{lines}"))?;
    println!("fidelity.floor is written");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn steps_are_counted_by_the_folder_of_their_case() {
        let report = json!([
            {"case": "/x/cases/rbac/a.yaml", "step": "do GET /", "same": true},
            {"case": "/x/cases/rbac/a.yaml", "step": "do GET /", "same": false},
            {"case": "/x/cases/kinds/b.yaml", "step": "do GET /", "same": true},
        ]);
        let counts = count(&steps_of(&report).unwrap());
        assert_eq!(counts, Counts::from([("kinds".into(), (1, 1)), ("rbac".into(), (1, 2))]));
    }

    #[test]
    fn an_area_below_its_floor_is_named() {
        let floor = Counts::from([("kinds".into(), (3, 9)), ("rbac".into(), (2, 9))]);
        let counts = Counts::from([("rbac".into(), (2, 9))]);
        assert_eq!(short(&floor, &counts), ["kinds"]);
        assert!(hold(&floor, &counts).unwrap_err().to_string().ends_with(": kinds"));
    }
}
