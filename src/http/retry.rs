//! placeholder until merge
use std::time::Duration;
use crate::config::RetrySettings;
use crate::error::{Error, ErrorKind};
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind { Paid, Trigger, Free }
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decision { Retry { after: Duration }, GiveUp }
#[derive(Debug)]
pub struct RetryBudget;
impl RetryBudget { pub fn new(_: u64) -> Self { Self } pub fn take(&mut self, _: &Error) -> bool { true } pub fn succeeded(&mut self) {} }
pub fn decide(_: &Error, _: CallKind, _: u32, _: u32, _: &RetrySettings, _: f64) -> Decision { Decision::GiveUp }
pub fn maybe_charged(e: &Error) -> bool { e.kind == ErrorKind::OutcomeUnknown }
pub fn is_resend(e: &Error) -> bool { e.kind == ErrorKind::OutcomeUnknown }
