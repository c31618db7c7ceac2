// Else Font Awesome also replaces the icons inside widgets, and their buttons stop working.
window.FontAwesomeConfig = { observeMutations: false };
