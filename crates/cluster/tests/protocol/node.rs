//! A request's way from the call to the answer.
