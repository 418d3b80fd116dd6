//! The operator and its databases on a real Kubernetes, as users meet them: kubectl, helm and curl.
//! Run by `e2e/test cluster`.
#![allow(clippy::expect_used)]

mod doors;
mod drift;
mod editing;
mod explain;
mod failing;
mod leadership;
mod quickstart;
mod refusals;
mod rest;
mod retention;
mod secrets;
mod survival;
mod upgrade;
mod volumes;
