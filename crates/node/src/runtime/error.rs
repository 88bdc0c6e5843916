//! Why a runtime call failed, in the words of the status and event that will show it.

use crate::image::ImageError;

/// Failure of a runtime call. `Display` is what goes into the pod's status.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// CRI's NotFound for a container.
    #[error("container {0:?} not found")]
    ContainerNotFound(String),
    /// CRI's NotFound for a sandbox.
    #[error("sandbox {0:?} not found")]
    SandboxNotFound(String),
    /// The call needs a running container.
    #[error("container {id:?} is not running, it is in state {state}")]
    NotRunning {
        /// Container id.
        id: String,
        /// Its state.
        state: &'static str,
    },
    /// The spec asks for something that cannot be done here; says what.
    #[error("{0}")]
    InvalidSpec(String),
    /// The container's process could not be started, in upstream's words.
    #[error("{0}")]
    StartFailed(String),
    /// The pod network could not be set up.
    #[error("failed to setup network for sandbox {sandbox:?}: {cause}")]
    Network {
        /// Sandbox id.
        sandbox: String,
        /// What failed.
        cause: String,
    },
    /// A step on the host failed.
    #[error("failed to {step}: {source}")]
    Io {
        /// The step, as a verb phrase.
        step: String,
        /// Why.
        source: std::io::Error,
    },
    /// The image is missing or damaged.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// This machine lacks a privilege or a kernel feature.
    #[error("this machine cannot run pods: {0}")]
    Unsupported(String),
}

impl RuntimeError {
    /// For `map_err`: names the step that failed.
    pub fn io(step: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let step = step.into();
        move |source| Self::Io { step, source }
    }

    /// Whether the thing is simply not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::ContainerNotFound(_) | Self::SandboxNotFound(_))
    }
}
