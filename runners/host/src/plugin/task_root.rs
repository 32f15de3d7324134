//! What stands behind the resource `root` of the plugin interface.

use crate::buildroot::Root;

/// A root of a task.
pub struct TaskRoot {
    pub(crate) root: Root,
    /// Which of the task's roots, counted from 0.
    pub(crate) number: usize,
}
