int answer(void) { return NUMBER; }
