//! What the line builds, for which platforms, and with which plugins and keys.

use clap::{Subcommand, ValueEnum};
use millrace_core::ownership::OwnedName;
use millrace_core::queue::Priority;
use millrace_core::{KeyName, PackageName, PlatformName, PluginName, ProjectName};
use std::path::PathBuf;

/// Packages.
#[derive(Debug, Subcommand)]
pub enum Package {
    /// Register a package: from now on, pushes to its repository are built.
    Add {
        /// Its name, the same as in its spec file.
        name: PackageName,
        /// Where it is cloned from, as the forge's webhooks name it.
        clone_url: String,
        /// Build it only for this platform; may be given several times.
        #[arg(long = "platform")]
        platforms: Vec<PlatformName>,
        /// Name in its spec file, if that is another than its own: no other source package is released for it. [default: its own]
        #[arg(long)]
        source_name: Option<String>,
        /// Packages of one project share the runners: no project waits until another is done. [default: the folder of the repository]
        #[arg(long)]
        project: Option<ProjectName>,
        /// How urgent its builds are: urgent, normal or background. [default: normal]
        #[arg(long)]
        priority: Option<Priority>,
    },
    /// List registered packages.
    List,
    /// Print a package.
    Show {
        /// Which.
        name: PackageName,
    },
    /// Change what is said of a package. What is not given stays.
    Edit {
        /// Which.
        name: PackageName,
        /// Build it only for this platform; may be given several times.
        #[arg(long = "platform", conflicts_with = "every_platform")]
        platforms: Vec<PlatformName>,
        /// Build it for every platform whose branches match.
        #[arg(long)]
        every_platform: bool,
        /// Name in its spec file.
        #[arg(long)]
        source_name: Option<String>,
        /// Packages of one project share the runners.
        #[arg(long)]
        project: Option<ProjectName>,
        /// How urgent its builds are: urgent, normal or background.
        #[arg(long)]
        priority: Option<Priority>,
    },
    /// Stop building and signing a package, for example because somebody has taken its repository over. What is released stays.
    Suspend {
        /// Which.
        name: PackageName,
        /// Why, for the package's people.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// End a suspension.
    Resume {
        /// Which.
        name: PackageName,
    },
    /// Forget a package: nothing of it is built any more, and its names are free. What is released stays.
    Remove {
        /// Which.
        name: PackageName,
    },
    /// Let a package release, obsolete and provide a name that belongs to another package or to the platform's repositories.
    Grant(NameOfPackage),
    /// Take back what `millrace package grant` allowed. What was released stays released.
    Revoke(NameOfPackage),
    /// List the names of packages that are a package's own and those that were granted to it.
    Names {
        /// Which package.
        name: PackageName,
    },
    /// Put source files into the lookaside store, from which `sources` and `.<name>.metadata` are served.
    Upload {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// A name that a package may use on a platform.
#[derive(Debug, clap::Args)]
pub struct NameOfPackage {
    /// Which package may.
    pub package: PackageName,
    /// The name: a package (`zlib-devel`), a source package (`source:zlib`), a file (`/usr/bin/zlib`) or a capability
    /// (`capability:libz.so.1`).
    pub name: OwnedName,
    /// Where.
    #[arg(long)]
    pub platform: PlatformName,
}

/// Platforms.
#[derive(Debug, Subcommand)]
pub enum Platform {
    /// Add a platform, or replace it: builds that are planned keep the one that they have.
    Add {
        /// A TOML file.
        file: PathBuf,
    },
    /// Forget a platform: nothing is built for it any more. What is released stays.
    Remove {
        /// Which.
        name: PlatformName,
    },
    /// List platforms.
    List,
    /// Print a platform.
    Show {
        /// Which.
        name: PlatformName,
    },
}

/// Releases.
#[derive(Debug, Subcommand)]
pub enum Release {
    /// List a platform's generations, the newest first: number, time, how many packages, and the builds that came in. Clients read
    /// the newest.
    List {
        /// Of which platform.
        platform: PlatformName,
        /// How many.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Take packages out of the repositories: all that a package of the line has released, or one version of it. Its subpackages, debuginfo
    /// and source packages go with it. This makes a new generation, so you can go back with `millrace release rollback`.
    Remove {
        /// From which platform.
        platform: PlatformName,
        /// PACKAGE or PACKAGE-VERSION.
        package: String,
    },
    /// Release the packages of an earlier generation again. This makes a new generation, so you can go back from it in the same way;
    /// if the packages are released already, nothing changes.
    Rollback {
        /// Of which platform.
        platform: PlatformName,
        /// The generation's number, as `millrace release list` prints it.
        number: u64,
    },
}

/// Kinds of keys.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Algorithm {
    /// RSA with 4096 bits: every rpm from EL8 on can check it.
    Rsa4096,
    /// Ed25519: small and quick; rpm from EL9 on.
    Ed25519,
}

/// Keys.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Make a signing key. The private half never leaves the state folder; for a line in the cloud, it never leaves its secret.
    Create {
        /// Its name, as platforms name it.
        name: KeyName,
        /// Whose it is, as people see it in `rpm -q gpg-pubkey`.
        #[arg(long, default_value = "millrace <packages@localhost>")]
        user_id: String,
        /// What kind.
        #[arg(long, value_enum, default_value = "rsa4096")]
        algorithm: Algorithm,
    },
    /// Import a signing key that you have, as `gpg --export-secret-keys ID` writes it: RSA or Ed25519, of version 4, whose primary key
    /// signs. It is put into the state folder; for a line in the cloud, into its secret, and onto no disk.
    Import {
        /// Its name, as platforms name it.
        name: KeyName,
        /// A file with the key; `-` reads it from standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// A file whose first line is the key's password. The key is kept without it: the line signs when nobody can type it.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// List keys.
    List,
    /// Print a key's public certificate, for `rpmkeys --import`.
    Show {
        /// Which.
        name: KeyName,
    },
}

/// Plugins.
#[derive(Debug, Subcommand)]
pub enum Plugin {
    /// Register a plugin, or replace it: builds that are planned keep the one that they have.
    Add {
        /// Its name, as steps name it.
        name: PluginName,
        /// A WebAssembly component.
        file: PathBuf,
    },
    /// Print what a plugin's name stands for.
    Show {
        /// Which.
        name: PluginName,
    },
    /// Forget a plugin. Builds that are planned keep it.
    Remove {
        /// Which.
        name: PluginName,
    },
    /// List plugins.
    List,
}

/// Messages.
#[derive(Debug, Subcommand)]
pub enum Messages {
    /// List messages that nobody has settled yet, with how often each was delivered. On a line that works well there are none for long.
    List,
    /// Deliver messages again now, as if they had never been delivered: when you have mended what was wrong.
    Retry {
        /// Their numbers, as `messages list` shows them. [default: all that were delivered before]
        messages: Vec<u64>,
    },
}
