"""What the paper on normality normalization measures, for any model and data.

Reference:
    Eftekhari & Papyan (2025), On the Importance of Gaussianizing Representations, ICML, arXiv:2505.00685.
"""
