//! A registry straight over the store: the server of the distribution protocol.
