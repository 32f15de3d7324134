//! The order in which folders list their files: the same everywhere, whole, and quick enough that nobody notices.

use millrace_host::sandbox::View;
use millrace_tests::sandbox::{PATIENCE, SandboxFixture, status};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// More than a call of `ls` or `rm` has room for.
const FILES: usize = 3000;

fn passes(fixture: &SandboxFixture, script: &str) -> String {
    let (ended, said) = fixture.bash(script);
    assert_eq!(status(&ended), Some(0), "{said}");
    said
}

#[test]
fn a_folder_lists_its_files_alike_everywhere() {
    let fixture = SandboxFixture::new();
    let script = format!(
        "mkdir /tmp/up /tmp/down /work/disk
        for n in $(seq {FILES}); do : > /tmp/up/file$n; : > /work/disk/file$n; done
        for n in $(seq {FILES} -1 1); do : > /tmp/down/file$n; done
        ls -U /tmp/up"
    );
    let up = passes(
        &fixture,
        &format!("{script} > /work/up && ls -U /tmp/down > /work/down && ls -U /work/disk"),
    );
    let listed: Vec<&str> = up.lines().collect();
    assert_eq!(
        listed.iter().collect::<BTreeSet<_>>().len(),
        FILES,
        "each once"
    );
    for name in ["up", "down"] {
        assert!(
            fs::read_to_string(fixture.work().join(name)).unwrap() == up,
            "{name} is listed in another order"
        );
    }
    let disk: Vec<String> = fs::read_dir(fixture.work().join("disk"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_ne!(
        disk, listed,
        "this disk has that order by itself, and tells nothing"
    );
}

#[test]
fn many_list_and_remove_at_the_same_time_and_nothing_is_missed() {
    let script = "
        shopt -s globstar
        work() {
            for round in 1 2 3; do
                mkdir -p $1/deep/er && (cd $1 && touch $(seq 700) deep/$(seq -s ' deep/' 50) deep/er/x)
                all=($1/**); [ ${#all[@]} = 754 ] || exit 3
                rm -r $1 && [ ! -e $1 ] || exit 4
            done
        }
        for n in 1 2 3 4 5 6; do work /tmp/w$n & work /work/w$n & done
        for job in $(jobs -p); do wait $job || exit 5; done
        ls /proc/self > /dev/null && ls -d /usr/bin/l* && ls -l /proc/self/fd && echo all of it";
    let said = passes(&SandboxFixture::new(), script);
    assert!(
        said.contains("/usr/bin/ls\n") && said.ends_with("all of it\n"),
        "{said}"
    );
}

/// Goes back and on in an open folder, reads it as its files vanish, and while signals come.
const PERL: &str = r#"
    use strict; use POSIX;
    chdir "/work" or die; mkdir "many" or die;
    for my $n (1..2000) { open(my $file, ">", "many/$n") or die }
    opendir(my $folder, "many") or die;
    my @first = map { scalar readdir $folder } 1..500;
    my $place = telldir $folder;
    my @rest = readdir $folder;
    @first + @rest == 2002 or die "not all: " . (@first + @rest);
    seekdir $folder, $place;
    "@{[readdir $folder]}" eq "@rest" or die "another rest";
    rewinddir $folder;
    "@{[readdir $folder]}" eq "@first @rest" or die "another order";
    my $heard = 0;
    my $action = POSIX::SigAction->new(sub { $heard++ }, undef, SA_RESTART);
    $action->safe(1); # or perl runs the handler in the midst of whatever it does, its malloc among it
    sigaction(SIGUSR1, $action) or die;
    my $parent = $$;
    my $child = fork; if (!$child) { while (kill "USR1", $parent) { select undef, undef, undef, 0.0003 } exit }
    for (my $times = 0; $times < 100 || $heard < 20; $times++) { rewinddir $folder; my @all = readdir $folder; @all == 2002 or die "signals took some: " . @all }
    kill "KILL", $child; waitpid $child, 0;
    rewinddir $folder;
    while (my $name = readdir $folder) { unlink "many/$name" if $name =~ /\d/ }
    rmdir "many" or die "something is left: $!";
    print "well\n";
"#;

#[test]
fn programs_that_seek_remove_or_get_signals_see_all_files() {
    if !Path::new("/usr/bin/perl").exists() {
        return println!("this machine has no perl to try it with");
    }
    let (fixture, argv) = (SandboxFixture::new(), ["/usr/bin/perl", "-e", PERL]);
    let (ended, said) = fixture.run_in(
        View::Machine,
        &argv,
        PATIENCE,
        false,
        &AtomicBool::new(false),
    );
    assert_eq!((status(&ended), said.as_str()), (Some(0), "well\n"));
}
