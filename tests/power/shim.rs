//! The shim in C that stands between a process and its disk, compiled for the test that uses it.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The compiled shim. `shim.c` says what its variables mean.
pub struct Shim {
    folder: TempDir,
}

impl Shim {
    pub fn compile() -> Shim {
        let shim = Shim { folder: tempfile::tempdir().expect("a folder") };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power/shim.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]);
        cc.arg(shim.library()).arg(source).args(["-ldl", "-lpthread"]);
        assert!(cc.status().expect("a C compiler").success());
        shim
    }

    /// Has `command` run on the disk below `root`; the path of its program ends with `exe`. Below
    /// `after` appears what is left of it when the power is cut.
    pub fn load(&self, command: &mut Command, exe: &str, root: &Path, after: &Path) {
        command.env("LD_PRELOAD", self.library()).env("SHIM_EXE", exe);
        command.env("SHIM_ROOT", root).env("SHIM_AFTER", after);
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("shim.so")
    }
}

/// How the shim ends a process.
pub const CUT: i32 = 137;
