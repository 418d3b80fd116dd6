//! What PliantDB means by documents, names, revisions, commands and errors.
