//! Small real packages, so that the releaser has headers to read.

use millrace_core::Digest;
use millrace_core::rpm::Rpm;
use millrace_core::task::Artifact;
use rpm::{BuildConfig, CompressionType, PackageBuilder};

/// An RPM with no files, and the artifact that names it. The same arguments give the same bytes.
pub fn package(name: &str, release: u64, arch: &str) -> (Artifact, Vec<u8>) {
    let facts = Rpm {
        name: name.to_owned(),
        epoch: 0,
        version: "1".to_owned(),
        release: format!("{release}.el9"),
        arch: arch.to_owned(),
        exclusive_arch: Vec::new(),
        exclude_arch: Vec::new(),
        build_arch: Vec::new(),
    };
    let config = BuildConfig::v4().compression(CompressionType::None).source_date(1_700_000_000u32);
    let mut builder = PackageBuilder::new(name, "1", "MIT", if arch == "src" { "x86_64" } else { arch }, "made up");
    let built = builder.using_config(config).release(facts.release.clone()).build_host("simulation").build().unwrap();
    let mut bytes = Vec::new();
    built.write(&mut bytes).unwrap();
    let artifact =
        Artifact { name: format!("{facts}.rpm"), digest: Digest::of(&bytes), size: bytes.len() as u64, rpm: Some(facts) };
    (artifact, bytes)
}
