"""Speed, compared with other code in the same run: python -m app.benchmark norms|training|predict|joeynmt|scaling."""
