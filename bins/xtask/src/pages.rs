//! Completions for shells and manual pages of the client, from the definitions that its parser has.

mod bash;
mod fish;
mod man;
mod model;
mod zsh;

use std::fs;
use std::path::Path;

use albatross_e2e::Failure;

use model::Model;

/// Writes all of them into `folder`, as packages have them below /usr/share.
pub(crate) fn run(folder: &Path) -> Result<(), Failure> {
    for (name, content) in files() {
        let path = folder.join(&name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(|error| Failure::io("make", parent, error))?;
        fs::write(&path, content).map_err(|error| Failure::io("write", &path, error))?;
        say(&name);
    }
    Ok(())
}

/// The files and what is in them.
fn files() -> Vec<(String, String)> {
    let model = Model::of_client();
    let mut files = vec![
        ("bash-completion/completions/albatross-client".to_owned(), bash::script(&model)),
        ("zsh/site-functions/_albatross-client".to_owned(), zsh::script(&model)),
        ("fish/vendor_completions.d/albatross-client.fish".to_owned(), fish::script(&model)),
        ("man/man1/albatross-client.1".to_owned(), man::page(&model)),
    ];
    for (name, _) in &model.older {
        files.push((format!("man/man1/{name}.1"), ".so man1/albatross-client.1\n".to_owned()));
        // bash looks for a file of the name of the program.
        let load = "_completion_loader albatross-client 2>/dev/null || __load_completion albatross-client\n";
        if model.completes(name) {
            files.push((format!("bash-completion/completions/{name}"), load.to_owned()));
        }
    }
    files
}

#[expect(clippy::print_stdout, reason = "it talks to a person")]
fn say(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests;
