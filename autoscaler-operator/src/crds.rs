//! `crds`: the CustomResourceDefinitions.

use std::fs;

use autoscaler_scaler::api;

use crate::{
    args::CrdsArgs,
    command::{self, Failure},
};

/// Prints the CustomResourceDefinitions, or writes them into a folder.
///
/// # Errors
/// When the folder or a file in it cannot be written.
pub fn run(args: &CrdsArgs) -> Result<(), Failure> {
    let mut printed = String::new();
    for crd in api::crds() {
        let yaml = api::crd_yaml(&crd).map_err(|error| Failure::failed(&error))?;
        match &args.output {
            Some(folder) => {
                let path = folder.join(api::crd_file_name(&crd));
                fs::create_dir_all(folder)
                    .and_then(|()| fs::write(&path, yaml))
                    .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", path.display())))?;
            }
            None => {
                printed.push_str("---\n");
                printed.push_str(&yaml);
            }
        }
    }
    command::print(&printed)
}
