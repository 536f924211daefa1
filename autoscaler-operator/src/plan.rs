//! `plan`: decides about a dump of Kubernetes objects, without a cluster.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use autoscaler_core::{
    build::Input,
    check::check,
    document::PlanDocument,
    manifest::{Objects, ReadErrors, Source, read, read_offerings},
    planner::{self, Options},
    provider::Offering,
    snapshot::{Expander, Snapshot},
};
use jiff::Timestamp;

use crate::{
    args::{Output, PlanArgs},
    command::{self, Failure},
    whatif::{Setting, check_groups},
};

/// Reads the dump, decides and prints.
///
/// # Errors
/// [`Failure::Input`] for files that cannot be read or understood and for settings that do not exist;
/// [`Failure::Failed`] when the plan breaks an invariant, which is a defect of the planner.
pub fn run(args: &PlanArgs) -> Result<(), Failure> {
    let (objects, offerings) = read_input(args)?;
    let snapshot = snapshot(args, objects, &offerings)?;
    for problem in &snapshot.problems {
        command::warn(format_args!(
            "warning: {}: {}: {}",
            problem.object, problem.field, problem.message
        ));
    }
    let options = Options {
        ignore_timers: args.ignore_timers,
    };
    let plan = planner::plan(&snapshot, &options, args.now.unwrap_or_else(Timestamp::now));
    let violations = check(&snapshot, &plan);
    if !violations.is_empty() {
        let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
        return Err(Failure::Failed(format!(
            "the plan breaks its invariants:\n{}",
            lines.join("\n")
        )));
    }
    let document = PlanDocument::new(&snapshot, &plan);
    let text = match args.output {
        Output::Text => document.to_string(),
        Output::Json => {
            let json = serde_json::to_string_pretty(&document).map_err(|error| Failure::failed(&error))?;
            json + "\n"
        }
    };
    command::print(&text)
}

fn read_input(args: &PlanArgs) -> Result<(Objects, Vec<Offering>), Failure> {
    let mut objects = Objects::default();
    let mut errors = ReadErrors::default();
    for path in &args.files {
        let (name, text) = read_file(path)?;
        if let Err(found) = read(&Source { name, text: &text }, &mut objects) {
            errors.extend(found);
        }
    }
    let mut offerings = Vec::new();
    if let Some(path) = &args.offerings {
        let (name, text) = read_file(path)?;
        match read_offerings(&Source { name, text: &text }) {
            Ok(found) => offerings = found,
            Err(found) => errors.extend(found),
        }
    }
    errors.into_result().map_err(Failure::input)?;
    for (kind, count) in &objects.skipped {
        command::warn(format_args!(
            "note: {count} x {kind} not read: planning does not look at this kind"
        ));
    }
    Ok((objects, offerings))
}

fn read_file(path: &Path) -> Result<(String, String), Failure> {
    let name = if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    };
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(path)
    };
    let bytes = bytes.map_err(|error| Failure::Input(format!("{name}: cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::Input(format!("{name}: byte {at} is not UTF-8 text"))
    })?;
    Ok((name, text))
}

fn snapshot(args: &PlanArgs, mut objects: Objects, offerings: &[Offering]) -> Result<Snapshot, Failure> {
    let settings = args
        .sets
        .iter()
        .map(|text| Setting::parse(text, &objects))
        .collect::<Result<Vec<_>, _>>();
    let settings = settings.map_err(Failure::input)?;
    for setting in &settings {
        setting.apply_to_objects(&mut objects).map_err(Failure::input)?;
    }
    check_groups(&objects).map_err(Failure::input)?;
    if let Some(own) = &args.own_node
        && !objects.nodes.iter().any(|node| node.metadata.name == *own)
    {
        return Err(Failure::Input(format!(
            "--own-node {own}: no Node of the input has this name"
        )));
    }
    let input = Input {
        own_node: args.own_node.as_deref(),
        ..Input::new(&objects, offerings)
    };
    let mut snapshot = Snapshot::build(&input);
    for setting in &settings {
        setting.apply_to_snapshot(&mut snapshot);
    }
    if let Some(text) = &args.expander {
        let chain = Expander::parse_chain(text)
            .map_err(|word| Failure::Input(format!("--expander {text}: {word:?} names no expander")))?;
        if chain.is_empty() {
            return Err(Failure::Input("--expander: the list is empty".to_owned()));
        }
        snapshot.settings.expanders = chain;
    }
    Ok(snapshot)
}
