//! The house rules that a machine can check. Each test names one rule and lists every place that breaks it.

mod configuration;
mod dependencies;
mod documents;
mod environment;
mod modules;
mod sources;
mod tree;
