//! The files of a tree as lines of a spec's %files.

use anyhow::Result;
use std::collections::BTreeSet;
use std::path::Path;

/// Folders that the package `filesystem` owns for all.
const SHARED: &str = "usr usr/bin usr/sbin usr/lib usr/lib64 usr/lib32 usr/libx32 usr/share usr/include usr/src usr/games usr/local \
    usr/libexec etc var var/lib var/cache var/log var/tmp var/spool var/mail var/opt var/local tmp run dev proc sys root home opt srv mnt \
    media boot usr/share/doc usr/share/man usr/share/info usr/share/locale bin sbin lib lib64";

/// Lists everything below `root`; `configuration` are the paths of configuration files, without the first `/`.
pub fn listed(root: &Path, triplet: &str, configuration: &BTreeSet<String>) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let libraries = format!("usr/lib/{triplet}");
    let shared =
        |path: &str| path == libraries || SHARED.split_whitespace().any(|folder| folder == path);
    let mut waiting = vec![String::new()];
    while let Some(folder) = waiting.pop() {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            names.push((
                entry.file_name().to_string_lossy().into_owned(),
                entry.file_type()?.is_dir(),
            ));
        }
        names.sort();
        for (name, is_folder) in names {
            let path = if folder.is_empty() {
                name
            } else {
                format!("{folder}/{name}")
            };
            match is_folder {
                true if shared(&path) => {}
                true => lines.push(format!("%dir {}", quoted(&path))),
                false if configuration.contains(&path) => {
                    lines.push(format!("%config(noreplace) {}", quoted(&path)))
                }
                false => lines.push(quoted(&path)),
            }
            if is_folder {
                waiting.push(path);
            }
        }
    }
    Ok(lines)
}

/// A path as %files wants it. Pattern characters are escaped only if they make a pattern: rpm takes `/usr/bin/[` as it is.
fn quoted(path: &str) -> String {
    let mut text = format!("/{}", path.replace('%', "%%"));
    let pair = |open, close| text.find(open).is_some_and(|at| text[at..].contains(close));
    if text.contains(['*', '?']) || pair('[', ']') || pair('{', '}') {
        text = text
            .chars()
            .flat_map(|c| {
                r"[]*?{}\"
                    .contains(c)
                    .then_some('\\')
                    .into_iter()
                    .chain([c])
            })
            .collect();
    }
    if text.contains(' ') {
        format!("\"{text}\"")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_patterns_are_escaped() {
        assert_eq!(quoted("usr/bin/["), "/usr/bin/[");
        assert_eq!(quoted("usr/share/a[1].txt"), r"/usr/share/a\[1\].txt");
        assert_eq!(quoted("usr/share/100%"), "/usr/share/100%%");
        assert_eq!(quoted("usr/share/a b*"), "\"/usr/share/a b\\*\"");
    }

    #[test]
    fn shared_folders_are_left_to_filesystem() {
        let root = std::env::temp_dir().join(format!("xtask-files-{}", std::process::id()));
        crate::folders::write(&root.join("usr/share/demo/data"), "").unwrap();
        crate::folders::write(&root.join("etc/demo.conf"), "").unwrap();
        let lines = listed(
            &root,
            "x86_64-linux-gnu",
            &BTreeSet::from(["etc/demo.conf".to_owned()]),
        )
        .unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(
            lines,
            [
                "%dir /usr/share/demo",
                "/usr/share/demo/data",
                "%config(noreplace) /etc/demo.conf"
            ]
        );
    }
}
