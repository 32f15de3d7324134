//! `artifacts`: files from the line, and back to it.

use super::trouble;
use crate::buildroot::header;
use crate::line::client::DeskError;
use crate::line::patience::patiently;
use crate::line::stop::{Stop, Why};
use crate::plugin::bindings::artifacts::{Error, Host};
use crate::plugin::bindings::types;
use crate::plugin::capability::Refusal;
use crate::plugin::end::Interrupt;
use crate::plugin::folder::FolderError;
use crate::plugin::job::Job;
use millrace_core::Digest;
use millrace_core::task::Artifact;
use std::io::{self, Read, Seek, Write};
use std::time::{Duration, UNIX_EPOCH};

impl Host for Job {
    fn fetch(&mut self, digest: String, path: String) -> wasmtime::Result<Result<(), Error>> {
        let name = self.input_name(&digest);
        self.trace_call(format_args!("artifacts.fetch {name:?} {path:?}"));
        let input = match self.grants.input(&digest) {
            Ok(input) => (input.digest, input.size),
            Err(refusal) => return Ok(Err(refused(refusal))),
        };
        match self.download(&input.0, input.1, &path) {
            Ok(()) => Ok(Ok(())),
            Err(Trouble::Folder(FolderError::Io { path, source })) => {
                Err(trouble(format!("{path}: {source}")))
            }
            Err(Trouble::Folder(error)) => Ok(Err(Error::Refused(error.to_string()))),
            Err(Trouble::Desk(error)) => Err(self.interrupted(&error)),
        }
    }

    fn publish(&mut self, path: String) -> wasmtime::Result<Result<types::Artifact, Error>> {
        self.trace_call(format_args!("artifacts.publish {path:?}"));
        match self.hand_over(&path) {
            Ok(artifact) => Ok(Ok((&artifact).into())),
            Err(Unpublished::Refused(reason)) => Ok(Err(Error::Refused(reason))),
            Err(Unpublished::Folder(FolderError::Io { path, source })) => {
                Err(trouble(format!("{path}: {source}")))
            }
            Err(Unpublished::Folder(error)) => Ok(Err(Error::Refused(error.to_string()))),
            Err(Unpublished::Desk(error)) => Err(self.interrupted(&error)),
        }
    }
}

fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::NoInput(digest) => Error::Unknown(digest),
        other => Error::Refused(other.to_string()),
    }
}

enum Trouble {
    Folder(FolderError),
    Desk(DeskError),
}

enum Unpublished {
    Refused(String),
    Folder(FolderError),
    Desk(DeskError),
}

impl From<FolderError> for Unpublished {
    fn from(error: FolderError) -> Self {
        Self::Folder(error)
    }
}

/// A file on its way in or out, which breaks off as soon as the task is given up: a large one takes minutes.
struct Until<'a, F> {
    stop: &'a Stop,
    end: F,
}

impl<F> Until<'_, F> {
    fn unless_given_up(&self) -> io::Result<()> {
        if self.stop.is_raised() {
            Err(io::Error::other("the task was given up"))
        } else {
            Ok(())
        }
    }
}

impl<F: Read> Read for Until<'_, F> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.unless_given_up()?;
        self.end.read(bytes)
    }
}

impl<F: Write> Write for Until<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unless_given_up()?;
        self.end.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.end.flush()
    }
}

impl Job {
    fn download(&self, digest: &Digest, size: u64, path: &str) -> Result<(), Trouble> {
        if let Some((above, _)) = path.rsplit_once('/') {
            self.folder.make_folder(above).map_err(Trouble::Folder)?;
        }
        self.folder.remove(path).map_err(Trouble::Folder)?;
        self.folder.charge(path, size).map_err(Trouble::Folder)?;
        let mut file = self.folder.create(path, false).map_err(Trouble::Folder)?;
        let fetch = || {
            file.set_len(0)?;
            file.rewind()?;
            self.services
                .desk
                .download(
                    digest,
                    &mut Until {
                        stop: &self.stop,
                        end: &mut file,
                    },
                )
                .map(drop)
        };
        patiently(self.time_left(), self.stop.flag(), fetch).map_err(Trouble::Desk)?;
        // Packages keep the times of their files; that of a download would be another one every time.
        let time = UNIX_EPOCH + Duration::from_secs(self.work.source_date_epoch_s);
        file.set_modified(time).map_err(|source| {
            Trouble::Folder(FolderError::Io {
                path: path.to_owned(),
                source,
            })
        })
    }

    /// Sends a file to the line and remembers it as a result.
    fn hand_over(&mut self, path: &str) -> Result<Artifact, Unpublished> {
        let name = self
            .grants
            .result_name(path)
            .map_err(|refusal| Unpublished::Refused(refusal.to_string()))?;
        let (digest, size) = self.folder.hash(path)?;
        let rpm = match name.ends_with(".rpm") {
            true => Some(
                header::rpm(&self.folder.file(path)?)
                    .map_err(|error| Unpublished::Refused(format!("{name}: {error}")))?,
            ),
            false => None,
        };
        let file = self.folder.file(path)?;
        let send = || {
            (&file).rewind()?;
            self.services.desk.upload(
                &self.lease,
                &digest,
                size,
                &mut Until {
                    stop: &self.stop,
                    end: &file,
                },
            )
        };
        patiently(self.time_left(), self.stop.flag(), send).map_err(Unpublished::Desk)?;
        let artifact = Artifact {
            name: name.clone(),
            digest,
            size,
            rpm,
        };
        self.grants.publish(name);
        self.published.push(artifact.clone());
        Ok(artifact)
    }

    /// Ends the plugin, since the line does not do its part.
    fn interrupted(&self, error: &DeskError) -> wasmtime::Error {
        match error {
            _ if self.stop.is_raised() => wasmtime::Error::new(Interrupt::Stopped),
            DeskError::GivenUp => wasmtime::Error::new(Interrupt::Stopped),
            DeskError::LeaseLost(reason) => {
                self.stop.raise(Why::LeaseLost(reason.clone()));
                wasmtime::Error::new(Interrupt::Stopped)
            }
            other => trouble(other),
        }
    }
}
