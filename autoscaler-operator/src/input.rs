//! The input of the offline commands: a dump of Kubernetes objects, the offerings, and settings for what-if.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use autoscaler_core::{
    build::Input,
    manifest::{self, Objects, ReadErrors, Source, read_offerings},
    provider::Offering,
    snapshot::{Expander, Snapshot},
};

use crate::{
    args::DumpArgs,
    command::{self, Failure},
    whatif::{Setting, check_groups},
};

/// Reads the files and makes the snapshot to decide about. What was not read or not understood in full is told on
/// standard error.
///
/// # Errors
/// [`Failure::Input`] for files that cannot be read or understood and for settings that do not exist.
pub fn read(files: &[PathBuf], args: &DumpArgs) -> Result<Snapshot, Failure> {
    let (objects, offerings) = read_objects(files, args)?;
    let snapshot = snapshot(args, objects, &offerings)?;
    for problem in &snapshot.problems {
        command::warn(format_args!(
            "warning: {}: {}: {}",
            problem.object, problem.field, problem.message
        ));
    }
    Ok(snapshot)
}

fn read_objects(files: &[PathBuf], args: &DumpArgs) -> Result<(Objects, Vec<Offering>), Failure> {
    let mut objects = Objects::default();
    let mut errors = ReadErrors::default();
    for path in files {
        let (name, text) = read_file(path)?;
        if let Err(found) = manifest::read(&Source { name, text: &text }, &mut objects) {
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

fn snapshot(args: &DumpArgs, mut objects: Objects, offerings: &[Offering]) -> Result<Snapshot, Failure> {
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
