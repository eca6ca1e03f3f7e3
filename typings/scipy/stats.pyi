class _Chi2:
    def ppf(self, q: float, df: float) -> float: ...

chi2: _Chi2
