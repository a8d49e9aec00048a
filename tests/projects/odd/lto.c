int inlined(int n) { return n + 1; }
