//! The small program, and functions that run it.

use crate::lambda::activity::Activity;
use crate::lambda::deployed::Settings;
use crate::lambda::function::Function;
use crate::lambda::process::Program;
use crate::lambda::{Children, Failure};
use axum::body::Bytes;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Writes the program into a folder.
pub fn write(folder: &Path) -> PathBuf {
    let path = folder.join("child");
    // Written aside and renamed: a file that another thread's new process has open for writing cannot be run.
    std::fs::write(folder.join("new"), include_str!("child.py")).unwrap();
    std::fs::set_permissions(folder.join("new"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(folder.join("new"), &path).unwrap();
    path
}

/// A function that nobody deployed.
pub struct Alone {
    pub function: Arc<Function>,
    pub children: Children,
    /// What is under way in it.
    pub activity: Activity,
    _folder: TempDir,
}

/// How long it may take; a machine may be slow.
pub const TIMEOUT: Duration = Duration::from_secs(20);

impl Alone {
    /// One with a handler, of which so many may run at once.
    pub fn new(handler: &str, timeout: Duration, concurrency_max: Option<usize>) -> Self {
        let folder = TempDir::new().unwrap();
        let settings = Settings {
            name: "alone".to_owned(),
            arn: "arn:aws:lambda:us-east-1:000000000000:function:alone".to_owned(),
            role: String::new(),
            handler: handler.to_owned(),
            environment: Vec::new(),
            timeout,
            memory_mb: 128,
            concurrency_max,
            retries_max: 2,
            on_failure: None,
            url: None,
            policy: Value::Null,
        };
        let program = Program {
            function: "alone".to_owned(),
            path: write(folder.path()),
            environment: vec![("_HANDLER".to_owned(), handler.to_owned())],
            log: folder.path().join("log"),
        };
        let (children, activity, place) = (
            Children::default(),
            Activity::default(),
            folder.path().to_owned(),
        );
        let function = Arc::new(Function::new(
            settings,
            program,
            place,
            children.clone(),
            activity.clone(),
        ));
        Self {
            function,
            children,
            activity,
            _folder: folder,
        }
    }

    /// Tells it to do something.
    pub async fn tell(&self, event: Value) -> Result<Value, Failure> {
        let answer = self
            .function
            .invoke("id", Bytes::from(event.to_string()))
            .await?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }

    /// Waits until it stands still.
    pub async fn quiet(&self) {
        self.activity.quiet(Duration::from_millis(10), &[]).await;
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.function.program.log).unwrap()
    }
}
