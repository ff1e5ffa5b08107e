//! `trace!`: one line that says what happens here, for whoever listens. With the feature `trace` it is a record in
//! [`trace`](crate::trace); without it, it is nothing, and not even its arguments are evaluated.
//!
//! A hook states a fact and nothing else: none looks anything up, decides anything, or keeps anything for another one. So who
//! reads this crate and skips the lines that begin with `trace!` misses nothing.

macro_rules! trace {
    ($event:ident $fields:tt) => {
        #[cfg(feature = "trace")]
        {
            if crate::trace::is_on() {
                static SITE: crate::trace::Site = crate::trace::Site::new(file!(), line!());
                crate::trace::record(&SITE, crate::trace::Event::$event $fields);
            }
        }
    };
}
