//! The template of the line, joined from the files of `infra/cloud`: one for each thing.

use anyhow::{Context, Result, ensure};
use std::path::Path;

/// What stands before everything else.
const HEAD: &str = "\
AWSTemplateFormatVersion: '2010-09-09'
Description: The line of millrace, from git push to released RPM.
";

/// The parts of a template that files may have, in the order in which they are joined (AWS CloudFormation User Guide, "Template
/// sections").
const PARTS: [&str; 4] = ["Parameters:", "Conditions:", "Resources:", "Outputs:"];

/// Joins the files of a folder, in the order of their names.
pub fn join(folder: &Path) -> Result<String> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    let texts = files.iter().map(|path| {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Ok((path.display().to_string(), text))
    });
    joined(&texts.collect::<Result<Vec<_>>>()?)
}

/// Puts what stands below one part in each file below that part in one text. A part begins with its name at the beginning of a line,
/// and what belongs to it is indented; comments before the first part speak of their file, and stay there.
fn joined(files: &[(String, String)]) -> Result<String> {
    let mut bodies = PARTS.map(|_| String::new());
    for (name, text) in files {
        let mut part = None;
        for line in text.lines() {
            if let Some(at) = PARTS.iter().position(|part| *part == line.trim_end()) {
                part = Some(at);
            } else if line.is_empty() || line.starts_with(' ') {
                if let Some(at) = part {
                    bodies[at].push_str(line);
                    bodies[at].push('\n');
                }
            } else {
                ensure!(
                    line.starts_with('#'),
                    "{name}: `{line}` is no part of a template that this joins"
                );
            }
        }
    }
    let parts = PARTS
        .iter()
        .zip(&bodies)
        .filter(|(_, body)| !body.trim().is_empty());
    Ok(parts.fold(HEAD.to_owned(), |text, (part, body)| {
        format!("{text}{part}\n{body}")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_one_part_comes_together() {
        let file = |text: &str| ("a.yaml".to_owned(), text.to_owned());
        let files = [
            file("# About it.\nParameters:\n  A:\n    Type: String\nResources:\n  B: 1\n"),
            file("Resources:\n  C: |\n    #!/bin/sh\n\n    d\n"),
        ];
        assert_eq!(
            joined(&files).unwrap(),
            format!(
                "{HEAD}Parameters:\n  A:\n    Type: String\nResources:\n  B: 1\n  C: |\n    #!/bin/sh\n\n    d\n"
            )
        );
        assert!(
            joined(&[file("Mappings:\n  A: 1\n")])
                .unwrap_err()
                .to_string()
                .contains("Mappings")
        );
    }

    #[test]
    fn the_template_of_the_line_has_every_function() {
        let folders = crate::folders::Folders::find().unwrap();
        let text = join(&folders.workspace.join("infra/cloud")).unwrap();
        for function in [
            "hooks",
            "fetch",
            "desk",
            "messages",
            "sweep",
            "sign",
            "release",
            "repository",
            "web",
        ] {
            assert!(
                text.contains(&format!(
                    "FunctionName: !Sub ${{AWS::StackName}}-{function}\n"
                )),
                "{function}"
            );
        }
    }
}
