"""`planner doctor`: everything a campaign rests on, tried out before the first job."""

from collections.abc import Callable

from campaign.folder import Campaign


def doctor(
    campaign: Campaign, server: bool, say: Callable[[str], None], cells: bool = False
) -> bool:
    """Whether the campaign could run; one line for each finding, as it is made.

    `server`: probe nothing but the server of the planner LLM; `cells`: label a crystal in two
    cells by a program, too.
    """
    sound = True
    if not server:
        from campaign.doctor.slurm import cluster
        from campaign.doctor.this_machine import workplace

        for look in (workplace(campaign, cells), cluster(campaign.folder)):
            for finding in look:
                sound &= finding.level != "FAIL"
                say(str(finding))
    if server or campaign.config.planner == "anthropic":
        from planner.llm.server_check import examine

        able, text = examine(campaign.config.llm)
        say(text)
        return sound and able
    say(f"note  planner    {campaign.config.planner}: no server is asked (--llm probes it)")
    return sound
