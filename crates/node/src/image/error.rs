//! Why an image is not there.

/// Failure of the image store. The variant decides the pod's waiting reason, `Display` its message.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// `InvalidImageName`: not a reference.
    #[error("couldn't parse image name {name:?}: {cause}")]
    InvalidName {
        /// As given.
        name: String,
        /// Docker's words.
        cause: String,
    },
    /// `ErrImagePull`: the registry does not have it.
    #[error("failed to pull and unpack image {image:?}: failed to resolve reference {image:?}: {image}: not found")]
    NotFound {
        /// Normalised reference.
        image: String,
    },
    /// `ErrImagePull`: the registry refuses these credentials.
    #[error(
        "failed to pull and unpack image {image:?}: failed to resolve reference {image:?}: pull access denied, repository does not exist or may require authorization: {cause}"
    )]
    Unauthorized {
        /// Normalised reference.
        image: String,
        /// The registry's words.
        cause: String,
    },
    /// `RegistryUnavailable` / `ErrImagePull`: no answer.
    #[error("failed to pull and unpack image {image:?}: failed to resolve reference {image:?}: {cause}")]
    Unreachable {
        /// Normalised reference.
        image: String,
        /// What happened.
        cause: String,
    },
    /// The image's content is damaged, hostile, too big or of a kind that we do not know.
    #[error("failed to pull and unpack image {image:?}: {cause}")]
    Refused {
        /// Reference or file.
        image: String,
        /// What is wrong.
        cause: String,
    },
    /// A container is made of it.
    #[error("image {image:?} is in use by container {container}")]
    InUse {
        /// Reference.
        image: String,
        /// Container id.
        container: String,
    },
    /// It is not here (remove, create).
    #[error("image {0:?} not found")]
    NotPresent(String),
    /// A step on the host failed.
    #[error("failed to {step}: {source}")]
    Io {
        /// The step, as a verb phrase.
        step: String,
        /// Why.
        source: std::io::Error,
    },
}

impl ImageError {
    /// For `map_err`: names the step that failed.
    pub(crate) fn io(step: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let step = step.into();
        move |source| Self::Io { step, source }
    }
}
