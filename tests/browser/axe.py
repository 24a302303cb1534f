"""axe-core on a page in Chromium: what breaks WCAG 2.2 AA or axe's best practices."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def faults(page: Page) -> list[str]:
    """Each fault as one line: rule, element, what is wrong. Empty: axe found nothing."""
    # Colours are judged as they come to rest.
    page.evaluate(
        """() => Promise.allSettled(document.getAnimations()
            .filter((each) => each.effect.getTiming().iterations !== Infinity).map((each) => each.finished))"""
    )
    answer = Axe().run(page, options={"runOnly": {"type": "tag", "values": TAGS}}).response
    return [
        f"{fault['id']}: {node['html'][:200]}: {node.get('failureSummary', '')}"
        for fault in answer["violations"]
        for node in fault["nodes"]
    ]
