//! The programs that the heap is preloaded into, and what they are to do.
//!
//! Each does what it is used for in the world, with an input that is the same each time, and leaves what it made on
//! standard output and in the folder `out`. Whatever allocator it has, that must be the same.

use std::fs;
use std::io;
use std::path::Path;

use crate::inputs;

/// How much a program is given to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Enough to see that it works: about a second.
    Quick,
    /// Enough to be measured.
    Full,
}

impl Scale {
    fn of(self, quick: usize, full: usize) -> usize {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// A program with something to do.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// What results call it.
    pub name: &'static str,
    /// The commands that must be there.
    pub needs: &'static [&'static str],
    /// What else must be there, as a command that says so with its exit status, and what it means if it is not.
    pub probe: Option<(&'static str, &'static str)>,
    /// The commands, for `sh -eu`; `$COUNT` says how much there is to do, and `$PYTHON_WITH_TESTS` is the first Python on
    /// `PATH` that has come with its own tests.
    pub script: &'static str,
    /// `$COUNT` for each scale.
    count: [usize; 2],
    /// Puts the input into the folder that the commands run in.
    prepare: fn(&Path, usize) -> io::Result<()>,
}

impl Program {
    /// How much there is to do.
    #[must_use]
    pub fn count(&self, scale: Scale) -> usize {
        scale.of(self.count[0], self.count[1])
    }

    /// Puts the input into a folder.
    ///
    /// # Errors
    /// Those of writing it.
    pub fn prepare(&self, folder: &Path, scale: Scale) -> io::Result<()> {
        fs::create_dir_all(folder.join("out"))?;
        (self.prepare)(folder, self.count(scale))
    }
}

/// All programs.
pub const PROGRAMS: &[Program] = &[
    Program {
        name: "gcc-compile",
        needs: &["gcc"],
        probe: None,
        script: "gcc -O2 -c input.c -o out/input.o",
        count: [30, 250],
        prepare: |folder, count| fs::write(folder.join("input.c"), inputs::c_source(count)),
    },
    Program {
        name: "rustc-compile",
        needs: &["rustc"],
        probe: Some(("rustc --version", "rustc does not run")),
        script: "rustc --edition 2021 -O --crate-type lib --emit obj -C codegen-units=2 input.rs -o out/input.o",
        count: [1, 8],
        prepare: |folder, count| fs::write(folder.join("input.rs"), inputs::rust_source(count)),
    },
    Program {
        name: "git-pack",
        needs: &["git"],
        probe: None,
        script: "export HOME=$PWD GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a \
                 GIT_COMMITTER_EMAIL=a@b GIT_AUTHOR_DATE='1000000000 +0000' GIT_COMMITTER_DATE='1000000000 +0000'\n\
                 git init -q repository && cd repository\n\
                 for version in ../versions/*; do cp -r $version/. . && git add -A && git commit -qm $version; done\n\
                 git -c pack.threads=1 repack -adfq --depth=50 --window=50\n\
                 git fsck --full --strict 2>&1\n\
                 git rev-parse HEAD && git count-objects -v | grep -v size\n\
                 git -c pack.threads=2 repack -adfq && git verify-pack -v .git/objects/pack/*.idx | grep -c '^[0-9a-f]'\n\
                 git -c pack.threads=1 repack -adfq --depth=50 --window=50 && cp .git/objects/pack/*.pack ../out/pack",
        count: [3, 20],
        prepare: |folder, count| inputs::versions(&folder.join("versions"), count),
    },
    Program {
        name: "python-json",
        needs: &["python3"],
        probe: None,
        script: "python3 document.py $COUNT",
        count: [4, 40],
        prepare: |folder, _| fs::write(folder.join("document.py"), include_str!("scripts/document.py")),
    },
    Program {
        name: "python-objects",
        needs: &["python3"],
        probe: None,
        script: "PYTHONMALLOC=malloc python3 objects.py $COUNT",
        count: [3000, 40_000],
        prepare: |folder, _| fs::write(folder.join("objects.py"), include_str!("scripts/objects.py")),
    },
    Program {
        name: "python-tests",
        needs: &["python3"],
        probe: Some(("$PYTHON_WITH_TESTS -c 'import test.test_json'", "python3 has come without its tests")),
        // How long it took, and in which order threads said something, is nobody's business.
        script: "$PYTHON_WITH_TESTS -m test -v $(test $COUNT = 1 || echo test_threading) test_json test_dict >log 2>&1 || true\n\
                 grep -oE '(^|[a-zA-Z0-9_.() ]+) \\.\\.\\. (ok|FAIL|ERROR|skipped|expected failure)' log | sort\n\
                 grep -oE 'Total tests: run=.*' log",
        count: [1, 2],
        prepare: |_, _| Ok(()),
    },
    Program {
        name: "sqlite3",
        needs: &["sqlite3"],
        probe: None,
        script: "sqlite3 out/database <input.sql",
        count: [10_000, 100_000],
        prepare: |folder, count| {
            let sql = include_str!("scripts/database.sql").replace(":count", &count.to_string());
            fs::write(folder.join("input.sql"), sql)
        },
    },
    Program {
        name: "perl",
        needs: &["perl"],
        probe: None,
        script: "PERL_HASH_SEED=0 perl text.pl $COUNT",
        count: [10_000, 40_000],
        prepare: |folder, _| fs::write(folder.join("text.pl"), include_str!("scripts/text.pl")),
    },
    Program {
        name: "node",
        needs: &["node"],
        probe: None,
        script: "node script.js $COUNT",
        count: [3000, 60_000],
        prepare: |folder, _| fs::write(folder.join("script.js"), include_str!("scripts/script.js")),
    },
    Program {
        name: "jq",
        needs: &["jq"],
        probe: None,
        script: "jq -c 'group_by(.name) | map({name: .[0].name, tags: (map(.tags) | add | unique), x: (map(.at.x) | add)})' \
                 input.json && jq -S . input.json >out/sorted.json",
        count: [3000, 30_000],
        prepare: |folder, count| fs::write(folder.join("input.json"), inputs::json(count)),
    },
    Program {
        name: "bash",
        needs: &["bash"],
        probe: None,
        script: "bash script.sh $COUNT",
        count: [5000, 30_000],
        prepare: |folder, _| fs::write(folder.join("script.sh"), include_str!("scripts/script.sh")),
    },
    Program {
        name: "awk",
        needs: &["awk"],
        probe: None,
        script: "awk '{ for (i = 3; i <= NF; i++) n[substr($1, 1, 3) i] += length($0); s[$1] = $0 } \
                 END { for (w in n) print w, n[w]; for (w in s) t += length(s[w]); print t }' input >log && sort log",
        count: [20_000, 150_000],
        prepare: |folder, count| fs::write(folder.join("input"), inputs::lines(count)),
    },
    Program {
        name: "sort",
        needs: &["sort"],
        probe: None,
        script: "LC_ALL=C sort --parallel=2 -S 64M input -o out/sorted && LC_ALL=C sort -rnk2 input | tail -n 3",
        count: [50_000, 800_000],
        prepare: |folder, count| fs::write(folder.join("input"), inputs::lines(count)),
    },
    Program {
        name: "xz",
        needs: &["xz"],
        probe: None,
        script: "xz -T2 --block-size=1MiB -k -c input >out/input.xz && xz -dc out/input.xz | cmp - input",
        count: [20_000, 60_000],
        prepare: |folder, count| fs::write(folder.join("input"), inputs::lines(count)),
    },
];
