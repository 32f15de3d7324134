//! One build in every state.

use super::story::{BuildStory, file, story};
use millrace_core::RunnerName;
use millrace_core::build::{Build, Event};
use millrace_core::task::{Blame, LEASE_MS};

/// One build in every state, each of a package of its own.
pub fn every_state() -> Vec<Build> {
    let refusal = |story: BuildStory| match &story.build.stage {
        millrace_core::build::Stage::Signing { order } => Event::SignRefused {
            order: *order,
            reason: "there is no key `almalinux-9`: `millrace key add almalinux-9` makes one"
                .to_owned(),
        },
        _ => panic!("it is {}", story.build.word()),
    };
    let release_refusal = |story: BuildStory| match &story.build.stage {
        millrace_core::build::Stage::Releasing { order } => Event::ReleaseRefused {
            order: *order,
            reason: "zlib-1.3.1-3.el9.x86_64 is there already with other bytes: raise its release"
                .to_owned(),
        },
        _ => panic!("it is {}", story.build.word()),
    };
    let stories = [
        story("expat", "Update to 2.6.4", 3),
        story("pigz", "Build with the zlib that we ship", 4).sourced().take("rpm@x86_64", "intel-1"),
        story("curl", "Backport the fix for CVE-2026-1234", 5).sourced().take("rpm@aarch64", "arm-1").after(LEASE_MS + 1).event(Event::Tick).take("rpm@aarch64", "arm-2"),
        story("lz4", "Rebuild", 6).checked(),
        story("xz", "Reproducible tarball", 9).checked().signed(),
        story("zlib", "Update to 1.3.1, drop the patch that upstream took (#2291104)", 12).checked().signed().released(),
        story("nano", "<script>alert(1)</script> & \"quotes\"", 31)
            .sourced()
            .fails("rpm@x86_64", 21_500, Blame::Package, "rpmbuild: error: Bad exit status from %build\nnano.c:812: error: ‘struct winsize’ has no member ‘ws_rows’\nmake[2]: *** [Makefile:1180: nano.o] Error 1")
            .passes("rpm@aarch64", 30_000, "2 packages", vec![file("nano", "nano", "aarch64")])
            .passes("check@aarch64", 9000, "installs, 40 files verify, removes", Vec::new()),
        story("bzip2", "Sign me", 75).checked().event_with(refusal),
        story("gzip", "Release me", 130).checked().signed().event_with(release_refusal),
        story("rust", "Never ending story", 400)
            .sourced()
            .fails("rpm@x86_64", 3000, Blame::Environment, "cannot reach https://mirrors.example: connection timed out")
            .take_later("rpm@x86_64", "intel-2")
            .after(LEASE_MS + 1)
            .event(Event::Tick)
            .take("rpm@x86_64", "intel-3")
            .event(Event::Return { runner: RunnerName::new("intel-3").unwrap() })
            .passes("rpm@aarch64", 12_000, "1 package", Vec::new())
            .passes("check@aarch64", 2000, "installs, removes", Vec::new()),
        story("sbsigntools", "ExclusiveArch: riscv64", 1500).excluded(),
        story("tzdata", "Nothing to release", 2900).passes("source", 900, "only a source", Vec::new()).quiet(),
        story("httpd", "Oops, wrong branch", 4400).sourced().take("rpm@x86_64", "intel-1").after(9000).event(Event::Cancel { by: "erin".parse().unwrap() }),
    ];
    stories.into_iter().map(|story| story.build).collect()
}

/// The build of a package among them.
pub fn build_of(package: &str) -> Build {
    every_state()
        .into_iter()
        .find(|build| build.push.announced.package.as_str() == package)
        .unwrap()
}

impl BuildStory {
    fn event_with(self, make: impl FnOnce(Self) -> Event) -> Self {
        let event = make(self.clone());
        self.after(500).event(event)
    }

    fn excluded(self) -> Self {
        let mut source = file("sbsigntools", "sbsigntools", "src");
        source.rpm.as_mut().unwrap().exclusive_arch = vec!["riscv64".to_owned()];
        self.passes(
            "source",
            1200,
            "sbsigntools-1.3.1-3.el9.src.rpm",
            vec![source],
        )
    }

    fn quiet(self) -> Self {
        let said = "no packages";
        let done = self.passes("rpm@x86_64", 400, said, Vec::new()).passes(
            "rpm@aarch64",
            500,
            said,
            Vec::new(),
        );
        done.passes("check@x86_64", 100, said, Vec::new()).passes(
            "check@aarch64",
            100,
            said,
            Vec::new(),
        )
    }
}
