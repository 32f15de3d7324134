//! A package in a root, as dnf tells it.

/// A package in a root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstalledPackage {
    /// `name-[epoch:]version-release.arch`
    pub nevra: String,
    pub name: String,
    /// The repository it came from; empty for a file of the task's folder.
    pub repository: String,
}

impl InstalledPackage {
    /// Reads a line of dnf's: name, epoch, version with release and architecture, and repository, with tabs between them.
    pub(super) fn read(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let name = fields.next()?;
        let epoch = match fields.next()? {
            "0" => String::new(),
            epoch => format!("{epoch}:"),
        };
        let vra = fields.next()?;
        let repository = fields.next().unwrap_or_default();
        Some(Self {
            nevra: format!("{name}-{epoch}{vra}"),
            name: name.to_owned(),
            repository: if repository.starts_with('@') {
                String::new()
            } else {
                repository.to_owned()
            },
        })
    }
}
