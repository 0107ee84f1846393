// Wire tests that are not for Windows under wine, and why. They are left out of that run.
export const NOT_FOR_WINDOWS = {
};
